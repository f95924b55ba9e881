"""Posterior maps of one tile-month: scenes and masks in, a product store out, Dask in between.

One task is one block of rows of one acquisition, and a block is a row of whole chunks: two tasks never write
the same chunk. The seed of a task comes from the item and the block, so a map does not depend on the number
of workers, and an acquisition's map does not change when another one joins its month.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr
from distributed import WorkerPlugin, get_worker
from numpy.typing import NDArray

from canopyflow.atomic import atomic_store, content_digest
from canopyflow.cubes.layout import TIME_ENCODING, array_of, empty, write_template
from canopyflow.cubes.stores import open_masks, open_scenes, pixel_angles
from canopyflow.errors import DataError
from canopyflow.inference.allocation import Allocation, dask_client, pinned_device
from canopyflow.inference.summaries import BATCH_PIXELS, check_outputs, summarise
from canopyflow.models.bundle import load, read_description
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.estimators.refined import check_refinement, refined
from canopyflow.models.runtime import resolve_device
from canopyflow.observations.observation import Observation, pixels
from canopyflow.progress import track
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import DERIVED, DOUBTS, FLAGS, MASKED, OUTPUTS, STATISTICS, VARIABLES

log = logging.getLogger("canopyflow")

_ROWS = 128
"""Rows of a task and of a chunk."""

_COLUMNS = 1024


@dataclass(frozen=True)
class MapOptions:
    """What is mapped, and how: ``samples`` draws per pixel of the variables ``outputs``.

    ``batch_pixels``: pixels worked on at a time; it is part of what the draws depend on, as ``seed`` is. With
    ``refine`` "importance" the product has a layer ``ess`` too, the effective number of the ``proposals``
    draws of each pixel; below ``least_ess`` a pixel is flagged.
    """

    samples: int = 100
    outputs: Sequence[str] = OUTPUTS
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


class ModelPlugin(WorkerPlugin):
    """Gives each worker one estimator."""

    name = "canopyflow-model"

    def __init__(self, bundle: str, device: str, options: MapOptions) -> None:
        self.bundle, self.device, self.options = bundle, device, options

    def setup(self, worker: Any) -> None:
        """Load the bundle once per worker, onto the worker's own GPU where there are several."""
        model, o = load(self.bundle, pinned_device(self.device, worker.name)), self.options
        worker.canopyflow_model = refined(model, o.refine, o.proposals, o.least_ess)


def infer(
    bundle: str | Path,
    scenes: str | Path,
    masks: str | Path,
    out: str | Path,
    options: MapOptions | None = None,
    allocation: Allocation | None = None,
) -> None:
    """Write the product store of one tile-month.

    A product does not depend on ``allocation``, what the job was given to compute with. Several workers are
    processes that import the calling script again: guard it with ``if __name__ == "__main__"``.
    Raises DataError if the model and the scenes do not fit (band or platform), ConfigError for an unknown
    output or a device that is not there.
    """
    options, allocation = options or MapOptions(), allocation or Allocation()
    check_outputs(options.outputs)
    check_refinement(options.refine)
    description = read_description(bundle)
    with open_scenes(Path(scenes)) as store, open_masks(Path(masks)) as mask:
        _check(store, mask, description, str(scenes))
        template = _template(store, description, options, content_digest(bundle))
        blocks = [(t, y) for t in range(store.sizes["time"]) for y in range(-(-store.sizes["y"] // _ROWS))]
    with atomic_store(out) as scratch:
        write_template(scratch, template, _encoding(template))
        job = Job(str(scenes), str(masks), str(scratch), options)
        with dask_client(allocation) as client:
            client.register_plugin(ModelPlugin(str(bundle), str(resolve_device(options.device)), options))
            futures = client.map(_block, [job] * len(blocks), *zip(*blocks, strict=True), pure=False)
            done = sum(future.result() for future in track(futures, "inference"))
    log.info("%s: posterior of %d pixels in %d acquisitions", out, done, template.sizes["time"])


def _block(job: Job, time: int, block: int) -> int:
    """Compute and write one block of rows of one acquisition; the number of pixels computed."""
    worker: Any = get_worker()
    estimator: Estimator = worker.canopyflow_model
    options, rows = job.options, slice(block * _ROWS, (block + 1) * _ROWS)
    with open_scenes(Path(job.scenes)) as store, open_masks(Path(job.masks)) as mask:
        scene = store.isel(y=rows)
        valid = mask["valid"].isel(time=time, y=rows).values.astype(bool)
        item = str(scene["item"].values[time])
        doubts = _doubts(mask["quality"].isel(time=time, y=rows))
        flags = np.full(valid.shape, MASKED, np.uint8)
        seen = _clear(scene, time, valid, estimator.generative.bands) if valid.any() else None
    product = zarr.open_group(job.out, mode="r+")
    if seen is not None and len(seen):
        summary = summarise(
            estimator,
            seen,
            samples=options.samples,
            seed=seed_of(options.seed, item, block),
            outputs=options.outputs,
            batch_pixels=options.batch_pixels,
        )
        flags[valid] = summary.flags | doubts[valid]
        for i, name in enumerate(options.outputs):
            array_of(product, name)[time, :, rows] = _spread(summary.stats[:, i].T, valid)
        array_of(product, "fit")[time, rows] = _spread(summary.fit, valid)
        if summary.ess is not None:
            array_of(product, "ess")[time, rows] = _spread(summary.ess, valid)
    array_of(product, "flags")[time, rows] = flags
    return int(valid.sum())


def _clear(scene: xr.Dataset, time: int, valid: NDArray[np.bool_], bands: Sequence[str]) -> Observation:
    """The clear pixels of one acquisition; those that lack a band or an angle are unset in ``valid``."""
    reflectance = scene["reflectance"].isel(time=time).sel(band=list(bands))
    spectra = np.moveaxis(reflectance.values.astype(np.float32), 0, -1)
    angles = np.moveaxis(pixel_angles(scene, time), 0, -1)
    valid &= np.isfinite(spectra).all(-1) & np.isfinite(angles).all(-1)
    platform = str(scene["platform"].values[time])
    return pixels(torch.from_numpy(spectra[valid]), torch.from_numpy(angles[valid]), platform, bands)


def _doubts(quality: xr.DataArray) -> NDArray[np.uint8]:
    """Flags that the mask's informing bits of the same names set; (y, x)."""
    bits = quality.values.astype(int)
    flags = np.zeros(bits.shape, np.uint8)
    masks = np.atleast_1d(quality.attrs.get("flag_masks", ())).tolist()
    for name, mask in zip(str(quality.attrs.get("flag_meanings", "")).split(), masks, strict=True):
        if name in DOUBTS:
            flags |= np.where(bits & int(mask), FLAGS[name], 0).astype(np.uint8)
    return flags


def _spread(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(..., pixels) -> (..., y, x), NaN where not valid."""
    out = np.full((*values.shape[:-1], *valid.shape), np.nan, np.float32)
    out[..., valid] = values
    return out


def _check(store: xr.Dataset, mask: xr.Dataset, description: dict[str, Any], name: str) -> None:
    missing = sorted(set(description["bands"]) - set(store["band"].values.tolist()))
    if missing:
        raise DataError(
            f"scenes {name} lack band {missing[0]}, which the model needs", "fetch them with this band"
        )
    for item, platform in zip(store["item"].values, store["platform"].values, strict=True):
        if platform not in description["platforms"]:
            raise DataError(
                f"scene {item} is of platform {platform}, unknown to the model",
                f"add {platform} to the campaign's platforms and train again",
            )
    if mask["valid"].shape != tuple(store.sizes[d] for d in ("time", "y", "x")):
        raise DataError(f"masks do not have the grid of scenes {name}", "run the mask_clouds stage again")


def _template(store: xr.Dataset, description: dict[str, Any], options: MapOptions, digest: str) -> xr.Dataset:
    """The product without its numbers: coordinates, attributes, chunks."""
    times, height, width = (store.sizes[d] for d in ("time", "y", "x"))
    about: dict[str, Any] = {v.name: v for v in VARIABLES} | {v.name: v for v in DERIVED}

    grid: dict[str, Any] = {"grid_mapping": "spatial_ref"} if "spatial_ref" in store.variables else {}
    stats = len(STATISTICS)
    names = {
        "long_name": "distance of the posterior from the observation",
        "units": "standard deviations of noise",
    }
    meanings = {"flag_masks": list(FLAGS.values()), "flag_meanings": " ".join(FLAGS)}
    plane = (times, height, width)
    data: dict[str, Any] = {
        name: (
            ("time", "statistic", "y", "x"),
            empty((times, stats, height, width), np.float32),
            {"long_name": about[name].long_name, "units": about[name].unit, **grid},
        )
        for name in options.outputs
    }
    data["fit"] = (("time", "y", "x"), empty(plane, np.float32), {**names, **grid})
    if options.refine != "none":
        about_ess = {"long_name": "effective number of importance-weighted draws", "units": "1"}
        data["ess"] = (("time", "y", "x"), empty(plane, np.float32), {**about_ess, **grid})
    data["flags"] = (("time", "y", "x"), empty(plane, np.uint8), {**meanings, **grid})
    keep = [c for c in ("time", "item", "platform", "y", "x", "spatial_ref") if c in store.variables]
    coords: dict[str, Any] = {name: store[name].variable for name in keep} | {
        "statistic": np.array(STATISTICS, dtype=object)
    }
    attrs = {k: store.attrs[k] for k in ("tile", "month", "epsg", "crs_wkt", "transform") if k in store.attrs}
    attrs |= {
        "family": description["family"]["name"],
        "seed": description["seed"],
        "bundle_sha256": digest,
        "samples": options.samples,
    }
    return xr.Dataset(data, coords=coords, attrs=attrs).drop_encoding()


def _encoding(product: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Chunks of a task's rows; statistics without a value are NaN, flags have no missing value."""
    columns = min(_COLUMNS, product.sizes["x"])
    rows = min(_ROWS, product.sizes["y"])
    out: dict[str, dict[str, Any]] = {"time": TIME_ENCODING}
    for name, array in product.data_vars.items():
        leading = (1,) if array.ndim == 3 else (1, len(STATISTICS))
        fill = np.float32("nan") if array.dtype == np.float32 else None
        out[str(name)] = {"chunks": (*leading, rows, columns), "_FillValue": fill}
    return out
