"""The block loop: read a block of a scene, summarise its clear pixels, encode the summaries, write them.

A task is a strip of rows of one acquisition; it is read in blocks of the size of a scene store's inner
chunks and computed in pieces of the size of the product's. Reading the next block and writing the last piece
go on beside the computation, a thread each. What a task has written is a *part*: encoded chunks in a file of
its own, which the job appends to the shards of the product, in a fixed order.
"""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from canopyflow.cubes.layout import CHUNK, SCALE, array_of
from canopyflow.cubes.scene_blocks import SceneBlocks, complete
from canopyflow.cubes.shards import ChunkEncoder
from canopyflow.errors import CanopyflowError
from canopyflow.inference.doubts import doubts_of, informing
from canopyflow.inference.encoding import fit_numbers, scale_of, statistics_numbers
from canopyflow.inference.summaries import BATCH_PIXELS, LEARNED, Summary, Wanted, summarise
from canopyflow.models.estimators.contract import Estimator
from canopyflow.observations.observation import Observation, complete_pixels, platform_index
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import MAPPED, MASKED, OUTPUTS

SIDE = 256
"""Side of an inner chunk of the product, pixels; its draws share a seed."""

STRIP = CHUNK
"""Rows of a task, and side of a block: those of a chunk of the scene store, so that each is read once."""

_GATHER = 8192
"""Pixels that are gathered, or encoded, at a time: they stay in a processor's cache."""


@dataclass(frozen=True)
class MapOptions:
    """What is mapped, and how: ``statistics`` of the variables ``outputs``.

    ``summaries``: "learned" by the model's network, or "drawn" from ``samples`` draws per pixel.
    ``batch_pixels``: pixels worked on at a time; it is part of what the draws depend on, as ``seed`` is. With
    ``refine`` "importance" the product has a layer ``ess`` too, the effective number of the ``proposals``
    draws of each pixel; below ``least_ess`` a pixel is flagged.
    """

    samples: int = 100
    outputs: Sequence[str] = OUTPUTS
    statistics: Sequence[str] = MAPPED
    summaries: str = LEARNED
    batch_pixels: int = BATCH_PIXELS
    refine: str = "none"
    proposals: int = 2000
    least_ess: float = 100.0
    device: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Job:
    """What every task of one call shares."""

    scenes: str
    masks: str
    out: str
    options: MapOptions


@dataclass(frozen=True)
class Chunk:
    """An encoded chunk of a part: of which array, its number along each axis, and its length in bytes."""

    array: str
    place: tuple[int, ...]
    length: int


@dataclass(frozen=True)
class Part:
    """What one task has written: ``chunks`` one after the other in ``file``, of ``pixels`` clear pixels, of
    which ``drawn`` were drawn from."""

    file: str
    chunks: Sequence[Chunk]
    pixels: int
    drawn: int


@dataclass(frozen=True)
class Piece:
    """The pixels of one inner chunk of the product: ``row`` and ``column`` are its number along both axes,
    ``side`` the side of such a chunk.

    ``clear``: places of the clear pixels in the piece, counted along its rows; ``doubts`` (rows, columns):
    flags that they inherit; ``seen``: their spectra, None if there is none.
    """

    row: int
    column: int
    clear: NDArray[np.intp]
    doubts: NDArray[np.uint8]
    seen: Observation | None
    side: int = SIDE


class Summarised(Protocol):
    """``drawn``: of how many pixels the posterior was drawn from."""

    @property
    def drawn(self) -> int: ...


P = TypeVar("P", bound=Piece)
S = TypeVar("S", bound=Summarised)


class BlockMapper(abc.ABC, Generic[P, S]):
    """Does tasks one after the other: reads the pieces of a strip, computes each, encodes and writes it.

    Args:
        out: folder in which the parts are written.
        pieces: those of a strip, by the number of what is mapped (an acquisition) and the rows.
        rows: how many there are in all.
    """

    def __init__(self, out: str, pieces: Callable[[int, slice], Iterator[P]], rows: int) -> None:
        self._parts, self._pieces, self._rows = Path(out), pieces, rows

    def __call__(self, time: int, number: int) -> Part:
        """Compute and write strip ``number`` of acquisition ``time``."""
        rows = slice(number * STRIP, min((number + 1) * STRIP, self._rows))
        file = self._parts / f".{time}-{number}.part"
        chunks: list[Chunk] = []
        done, drawn, written = 0, 0, _nothing()
        with (
            file.open("wb") as part,
            ThreadPoolExecutor(1, "write") as writing,
            ThreadPoolExecutor(1, "read") as reading,
        ):
            for piece in _ahead(reading, self._pieces(time, rows)):
                summary = None
                if piece.seen is not None:
                    summary = self._summary(piece, piece.seen, time)
                    drawn += summary.drawn
                done += len(piece.clear)
                written.result()
                written = writing.submit(self._write, part, chunks, time, piece, summary)
            written.result()
        return Part(str(file), chunks, done, drawn)

    def _summary(self, piece: P, seen: Observation, time: int) -> S:
        """Summaries of a piece; errors say where it is."""
        try:
            return self.summarised(piece, seen, time)
        except CanopyflowError as error:
            place = f"rows from {piece.row * piece.side}, columns from {piece.column * piece.side}"
            raise CanopyflowError(f"{self.told(time)}, {place}: {error.problem}", error.remedy) from error

    @abc.abstractmethod
    def told(self, time: int) -> str:
        """What number ``time`` is, for messages."""

    @abc.abstractmethod
    def summarised(self, piece: P, seen: Observation, time: int) -> S:
        """Summaries of the clear pixels of a piece."""

    @abc.abstractmethod
    def encoded(self, time: int, piece: P, summary: S | None) -> Iterator[tuple[str, tuple[int, ...], bytes]]:
        """Encoded chunks of a piece: name of the array, number along each axis, content; a chunk without any
        value is left out."""

    def _write(self, part: BinaryIO, chunks: list[Chunk], time: int, piece: P, summary: S | None) -> None:
        for name, place, data in self.encoded(time, piece, summary):
            chunks.append(Chunk(name, place, len(data)))
            part.write(data)


class Mapper(BlockMapper["Piece", Summary]):
    """Maps of single acquisitions; opens stores and takes the model once for all tasks of a job."""

    def __init__(self, job: Job, estimator: Estimator) -> None:
        self._options, self._estimator = job.options, estimator
        self._scenes = Scenes(Path(job.scenes), Path(job.masks), estimator.generative.bands)
        super().__init__(job.out, self._scenes.pieces, self._scenes.shape[0])
        product = zarr.open_group(job.out, mode="r", use_consolidated=False)
        self._product = Product({name: array_of(product, name) for name in product_layers(job.options)})

    def told(self, time: int) -> str:
        return f"scene {self._scenes.items[time]}"

    def summarised(self, piece: Piece, seen: Observation, time: int) -> Summary:
        item = self._scenes.items[time]
        return self.summary(seen, seed_of(self._options.seed, item, piece.row, piece.column))

    def summary(self, seen: Observation, seed: int) -> Summary:
        """Summaries of the pixels of ``seen``, with the statistics of :func:`computed_statistics`."""
        o = self._options
        statistics = computed_statistics(o.statistics)
        wanted = Wanted(o.outputs, statistics, o.summaries, o.samples, o.batch_pixels)
        return summarise(self._estimator, seen, wanted, seed)

    def encoded(
        self, time: int, piece: Piece, summary: Summary | None
    ) -> Iterator[tuple[str, tuple[int, ...], bytes]]:
        for name, data in self._product.encoded(piece, summary, self._options):
            between = (0,) * (self._product.axes(name) - 3)
            yield name, (time, *between, piece.row, piece.column), data


def computed_statistics(wanted: Sequence[str]) -> tuple[str, ...]:
    """Statistics that are computed where ``wanted`` are mapped: the deviation says how finely to round."""
    return (*wanted, *(() if "std" in wanted else ("std",)))


def product_layers(options: MapOptions) -> tuple[str, ...]:
    """Names of the arrays of a product, in order."""
    return (*options.outputs, "fit", *(("ess",) if options.refine != "none" else ()), "flags")


def _nothing() -> Future[None]:
    done: Future[None] = Future()
    done.set_result(None)
    return done


def _ahead(pool: ThreadPoolExecutor, items: Iterator[P]) -> Iterator[P]:
    """``items``, each made in ``pool`` while the one before is worked on."""
    following = pool.submit(next, items, None)
    while (item := following.result()) is not None:
        following = pool.submit(next, items, None)
        yield item


class Scenes:
    """Scenes and masks of a tile and month, opened once; ``shape``: (rows, columns); ``items``: their ids."""

    def __init__(self, scenes: Path, masks: Path, bands: Sequence[str]) -> None:
        self._blocks = SceneBlocks(scenes, masks, bands)
        self.items, self.shape = self._blocks.items, self._blocks.shape
        self._platforms = [platform_index(name) for name in self._blocks.platforms]
        self._informing = informing(self._blocks.quality_attrs)
        self._bands = tuple(bands)

    def pieces(self, time: int, rows: slice) -> Iterator[Piece]:
        """The pieces of a strip, block by block."""
        tall, wide = (max(1, min(SIDE, size)) for size in self.shape)
        for first in range(0, self.shape[1], STRIP):
            columns = slice(first, min(first + STRIP, self.shape[1]))
            valid = self._blocks.valid(time, rows, columns)
            doubts = np.zeros(valid.shape, np.uint8)
            numbers = angles = None
            if valid.any():
                doubts = doubts_of(self._blocks.quality(time, rows, columns), self._informing)
                numbers = self._blocks.numbers(time, rows, columns)
                angles = self._blocks.angles(time, rows, columns)
            for y in range(0, valid.shape[0], tall):
                for x in range(0, valid.shape[1], wide):
                    part = (slice(y, y + tall), slice(x, x + wide))
                    clear, seen = np.zeros(0, np.intp), None
                    if numbers is not None and angles is not None and valid[part].any():
                        clear, seen = self._seen(
                            valid[part], numbers[:, *part], angles[:, *part], self._platforms[time]
                        )
                    row, column = (rows.start + y) // tall, (first + x) // wide
                    yield Piece(row, column, clear, doubts[part], seen)

    def _seen(
        self,
        valid: NDArray[np.bool_],
        numbers: NDArray[np.uint16],
        angles: NDArray[np.float32],
        platform: int,
    ) -> tuple[NDArray[np.intp], Observation | None]:
        """Places of the clear pixels of a piece, which lack no band and no angle, and what was seen."""
        known = complete(valid, numbers, angles)
        clear = np.flatnonzero(known)
        if not len(clear):
            return clear, None
        every = len(clear) == known.size
        spectra = _gathered(numbers, clear, every)
        spectra /= np.float32(round(1 / SCALE))
        geometry = _gathered(angles, clear, every)
        platforms = torch.full((len(clear),), platform, dtype=torch.long)
        seen = complete_pixels(torch.from_numpy(spectra), torch.from_numpy(geometry), platforms, self._bands)
        return clear, seen


def _gathered(layers: NDArray[Any], places: NDArray[np.intp], every: bool) -> NDArray[np.float32]:
    """Layers (k, y, x) at ``places`` (n,) -> (n, k) float32; ``every``: these are all places."""
    out = np.empty((len(places), len(layers)), np.float32)
    flat = [np.ascontiguousarray(layer).ravel() for layer in layers]
    for first in range(0, len(places), _GATHER):
        some = slice(first, first + _GATHER)
        at = some if every else places[some]
        for k, layer in enumerate(flat):
            out[some, k] = layer[at]
    return out


class Product:
    """Encodes the chunks of a product's arrays."""

    def __init__(self, arrays: Mapping[str, "zarr.Array[Any]"]) -> None:
        self._encoders = {name: ChunkEncoder(array) for name, array in arrays.items()}

    def axes(self, name: str) -> int:
        """Number of axes of an array."""
        return len(self._encoders[name].shape)

    def encode(self, name: str, values: NDArray[Any]) -> bytes | None:
        """A whole chunk of an array, encoded; None if it holds no value."""
        return self._encoders[name].encode(values)

    def encoded(
        self, piece: Piece, summary: Summary | None, options: MapOptions
    ) -> Iterator[tuple[str, bytes]]:
        """Encoded chunks of a piece by the name of their array; a chunk without any value is left out."""
        layers = self._layers(piece, summary, options)
        for name, encoder in self._encoders.items():
            if name in layers and (data := encoder.encode(layers[name])) is not None:
                yield name, data

    def _layers(self, piece: Piece, summary: Summary | None, options: MapOptions) -> dict[str, NDArray[Any]]:
        """Numbers of a piece in the shape of a chunk; of masked pixels alone there are only flags."""
        flags = np.full(piece.doubts.size, MASKED, np.uint8)
        if summary is None:
            return {"flags": self.placed("flags", flags, None, piece)}
        flags[piece.clear] = summary.flags | piece.doubts.ravel()[piece.clear]
        out = {
            name: self.placed(
                name, statistics_in_numbers(summary.stats[:, i], options.statistics, name), piece.clear, piece
            )
            for i, name in enumerate(options.outputs)
        }
        out["fit"] = self.placed("fit", fit_numbers(summary.fit), piece.clear, piece)
        if "ess" in self._encoders and summary.ess is not None:
            out["ess"] = self.placed("ess", summary.ess, piece.clear, piece)
        return out | {"flags": self.placed("flags", flags, None, piece)}

    def placed(
        self, name: str, values: NDArray[Any], clear: NDArray[np.intp] | None, piece: Piece
    ) -> NDArray[Any]:
        """Values (..., n) of the pixels ``clear`` (None: of all) in a chunk, the fill value elsewhere."""
        encoder = self._encoders[name]
        rows, columns = piece.doubts.shape
        whole = encoder.shape[-2:] == piece.doubts.shape
        if whole and values.shape[-1] == piece.doubts.size:
            return values.reshape(encoder.shape)
        out = np.full(encoder.shape, encoder.fill, encoder.dtype)
        if clear is None:
            clear = np.arange(rows * columns)
        flat = out.reshape(*values.shape[:-1], -1)
        flat[..., clear if whole else clear // columns * encoder.shape[-1] + clear % columns] = values
        return out


def statistics_in_numbers(
    values: NDArray[np.float32], wanted: Sequence[str], variable: str
) -> NDArray[np.int16]:
    """Statistics of a variable (n, s), as :func:`computed_statistics` orders them, as numbers of those that
    are ``wanted``, (wanted, n)."""
    out = np.empty((len(wanted), len(values)), np.int16)
    scale, deviation = scale_of(variable), computed_statistics(wanted).index("std")
    for first in range(0, len(values), _GATHER):
        some = slice(first, first + _GATHER)
        part = np.ascontiguousarray(values[some].T)
        out[:, some] = statistics_numbers(part[: len(wanted)], part[deviation], scale)
    return out
