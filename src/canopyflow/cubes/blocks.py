"""Spatial blocks: which split a place on the ground belongs to, whatever tile or UTM zone shows it.

The earth is cut into square blocks of one equal-area projection, and a hash of
seed and block decides the split. Two tiles that overlap therefore agree about
every place, which no division of tiles or of patches could promise.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pyproj import Transformer

from canopyflow.archive.grid import Grid, node_weights, nodes
from canopyflow.errors import DataError

SPLITS = ("train", "validation", "test")

EQUAL_AREA = 6933
"""EPSG code of the EASE-Grid 2.0 global cylindrical equal-area projection."""

NODE_SPACING = 32
"""Pixels between exactly projected nodes; between them bilinear, which is right to a millimetre at 10 m."""

STRIP = 512
"""Rows of pixels that are told apart at once."""

Integers = npt.NDArray[np.int64]


def block_indices(grid: Grid, block_metres: float) -> tuple[Integers, Integers]:
    """Column and row of the block of every pixel centre, with one more pixel around the grid.

    Returns:
        Two arrays (rows + 2, columns + 2).
    """
    return next(_indices(grid, block_metres, grid.shape[0]))


def _indices(grid: Grid, block_metres: float, height: int) -> Iterator[tuple[Integers, Integers]]:
    """:func:`block_indices` of ``height`` rows at a time, each with one more pixel around."""
    rows, columns = grid.shape
    x = grid.bounds[0] + (np.arange(-1, columns + 1) + 0.5) * grid.resolution
    y = grid.bounds[3] - (np.arange(-1, rows + 1) + 0.5) * grid.resolution
    spacing = NODE_SPACING * grid.resolution
    x_nodes, y_nodes = nodes(x[0], x[-1], spacing), nodes(y[-1], y[0], spacing)
    to_equal_area = Transformer.from_crs(grid.epsg, EQUAL_AREA, always_xy=True)
    easting, northing = to_equal_area.transform(*np.meshgrid(x_nodes, y_nodes))
    across, down = node_weights(x, x_nodes), node_weights(y, y_nodes)
    at_rows = [down @ np.asarray(projected) for projected in (easting, northing)]
    for first in range(0, rows, height):
        strip = slice(first, first + height + 2)
        column, row = (
            np.floor(values[strip] @ across.T / block_metres).astype(np.int64) for values in at_rows
        )
        yield column, row


def block_draw(seed: int, column: npt.ArrayLike, row: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each block, from a hash of seed, column and row.

    The finaliser is SplitMix64's (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195).
    """

    def mixed(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        value = value + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))

    columns = np.asarray(column, dtype=np.int64).astype(np.uint64)
    rows = np.asarray(row, dtype=np.int64).astype(np.uint64)
    with np.errstate(over="ignore"):
        start = mixed(np.full(np.broadcast(columns, rows).shape, seed % 2**63, dtype=np.uint64))
        final = mixed(mixed(start ^ columns) ^ rows)
    return (final >> np.uint64(11)).astype(np.float64) / 2.0**53


def split_of_blocks(
    seed: int, column: npt.ArrayLike, row: npt.ArrayLike, fractions: tuple[float, float, float]
) -> npt.NDArray[np.int64]:
    """Index into ``SPLITS`` of each block."""
    limits = np.cumsum(np.asarray(fractions, dtype=float) / sum(fractions))[:-1]
    return np.searchsorted(limits, block_draw(seed, column, row), side="right").astype(np.int64)


def allowed_pixels(
    grid: Grid, split: str, *, block_metres: float, fractions: tuple[float, float, float], seed: int
) -> npt.NDArray[np.bool_]:
    """Pixels (rows, columns) that belong to ``split`` and are more than a pixel away from any block border.

    The margin keeps pixels of two grids that overlap across a border apart: each
    centre is at least one pixel inside its own block, and half a diagonal is less.

    Raises:
        DataError: an unknown split, fractions that are none, or blocks of less than three pixels.
    """
    if split not in SPLITS:
        raise DataError(f"there is no split called {split}", f"choose one of {', '.join(SPLITS)}")
    if len(fractions) != 3 or min(fractions) < 0 or sum(fractions) <= 0:
        raise DataError(
            f"split fractions {fractions} are not three shares", "give train, validation and test"
        )
    if block_metres < 3 * grid.resolution:
        raise DataError(
            f"blocks of {block_metres:g} m are all border at {grid.resolution:g} m", "make them larger"
        )
    allowed = np.empty(grid.shape, dtype=bool)
    # By strips: indices of a whole tile would take gigabytes, its answer a byte per pixel.
    for number, (column, row) in enumerate(_indices(grid, block_metres, STRIP)):
        first = number * STRIP
        allowed[first : first + STRIP] = _inside(column, row) & _drawn(
            column[1:-1, 1:-1], row[1:-1, 1:-1], split, fractions, seed
        )
    return allowed


def _inside(column: Integers, row: Integers) -> npt.NDArray[np.bool_]:
    """Pixels in the same block as all eight around them, from indices with a margin of one pixel."""
    rows, columns = column.shape[0] - 2, column.shape[1] - 2
    inner = np.ones((rows, columns), dtype=bool)
    centre = slice(1, rows + 1), slice(1, columns + 1)
    for dy in (0, 1, 2):
        for dx in (0, 1, 2):
            shifted = slice(dy, rows + dy), slice(dx, columns + dx)
            inner &= (column[shifted] == column[centre]) & (row[shifted] == row[centre])
    return inner


def _drawn(
    column: Integers, row: Integers, split: str, fractions: tuple[float, float, float], seed: int
) -> npt.NDArray[np.bool_]:
    """Pixels whose block is in ``split``."""
    if not column.size:
        return np.zeros(column.shape, dtype=bool)
    # Hash each block once, not each pixel: a tile has 120 million pixels and some hundred blocks.
    c0, r0 = int(column.min()), int(row.min())
    table_columns, table_rows = np.arange(c0, int(column.max()) + 1), np.arange(r0, int(row.max()) + 1)
    table = split_of_blocks(seed, table_columns[None, :], table_rows[:, None], fractions)
    return np.asarray(table[row - r0, column - c0] == SPLITS.index(split))
