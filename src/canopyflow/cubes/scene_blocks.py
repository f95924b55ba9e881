"""Scenes and masks of a tile and month, opened once and read block by block as plain arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from canopyflow.cubes.layout import NODATA, array_of
from canopyflow.cubes.stores import PixelAngles, open_masks, open_scenes
from canopyflow.errors import DataError


class SceneBlocks:
    """A scene store and its masks.

    ``items``, ``platforms`` (names) and ``times`` (datetime64) are of the acquisitions; ``shape``: (rows,
    columns); ``grid``: where these lie; ``quality_attrs``: what the bits of :meth:`quality` mean. Opened as
    plain arrays: a graph of tasks for each block would take longer than the block.

    Raises:
        DataError: a store cannot be read, the masks are those of other scenes, or the scenes lack one of
        ``bands``.
    """

    def __init__(self, scenes: Path, masks: Path, bands: Sequence[str]) -> None:
        with open_scenes(scenes, decode=False) as store, open_masks(masks) as mask:
            _check_of_one(scenes, store, masks, mask)
            self.items: list[str] = [str(item) for item in store["item"].values]
            self.platforms: list[str] = [str(name) for name in store["platform"].values]
            self.times: NDArray[np.datetime64] = store["time"].values
            self.shape: tuple[int, int] = (store.sizes["y"], store.sizes["x"])
            self.attrs: dict[str, Any] = dict(store.attrs)
            self.grid: tuple[Any, ...] = lies_on(store)
            self.quality_attrs: dict[str, Any] = dict(mask["quality"].attrs)
            self._angles = PixelAngles(store)
            stored = store["band"].values.tolist()
        missing = sorted(set(bands) - set(stored))
        if missing:
            raise DataError(f"scenes {scenes} lack band {missing[0]}", "fetch them with this band")
        self._order = [stored.index(band) for band in bands]
        self._all_bands = self._order == list(range(len(stored)))
        self._numbers = _array(scenes, "reflectance")
        self._valid, self._quality = _array(masks, "valid"), _array(masks, "quality")

    def valid(self, time: int, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Whether the mask believes each pixel of a block, (y, x)."""
        return np.asarray(self._valid[time, rows, columns]).astype(bool, copy=False)

    def quality(self, time: int, rows: slice, columns: slice) -> NDArray[Any]:
        """The mask's bits of each pixel of a block, (y, x)."""
        return np.asarray(self._quality[time, rows, columns])

    def numbers(self, time: int, rows: slice, columns: slice) -> NDArray[np.uint16]:
        """Reflectance as it is stored, (band, y, x) in the order of ``bands``; NODATA where there is none."""
        numbers = np.asarray(self._numbers[time, :, rows, columns])
        return numbers if self._all_bands else numbers[self._order]

    def angles(self, time: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Sun zenith, view zenith, relative azimuth of a block, (3, y, x), degrees."""
        return self._angles.at(time, rows, columns)


def complete(
    valid: NDArray[np.bool_], numbers: NDArray[np.uint16], angles: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Pixels (y, x) that are ``valid``, lack no band of ``numbers`` (band, y, x) and no angle (3, y, x)."""
    known: NDArray[np.bool_] = valid & np.isfinite(angles).all(axis=0)
    for band in numbers:
        known &= band != NODATA
    return known


def lies_on(ds: xr.Dataset) -> tuple[Any, ...]:
    """What says on which pixels of the ground a scene or mask store lies: equal for equal grids."""
    return (*(ds.attrs.get(key) for key in ("epsg", "bounds", "resolution")), ds.sizes["y"], ds.sizes["x"])


def _check_of_one(scenes: Path, store: xr.Dataset, masks: Path, mask: xr.Dataset) -> None:
    """Raise DataError unless a mask store is that of these scenes."""
    of_scenes, of_masks = (
        {
            "tile": ds.attrs.get("tile"),
            "month": ds.attrs.get("month"),
            "items": ds["item"].values.tolist(),
            "grid": lies_on(ds),
        }
        for ds in (store, mask)
    )
    for what, value in of_scenes.items():
        if of_masks[what] != value:
            raise DataError(
                f"masks {masks} are not those of scenes {scenes}: they have another {what.rstrip('s')}",
                "give the masks of these scenes; after new scenes the stage mask_clouds runs again",
            )


def _array(store: Path, name: str) -> "zarr.Array[Any]":
    return array_of(zarr.open_group(store, mode="r", use_consolidated=False), name)
