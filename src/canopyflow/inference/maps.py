"""Posterior maps of one tile-month: scenes and masks in, a product store out, Dask in between.

One task is one strip of rows of one acquisition, and a strip is a shard of each layer: two tasks never write
the same file. A strip is computed in blocks of rows. The seed of a block comes from the item and its place,
so a map does not depend on the number of workers, and an acquisition's map does not change when another one
joins its month.
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
from canopyflow.cubes.layout import TIME_ENCODING, array_of, decoded, empty, in_strips, write_template
from canopyflow.cubes.stores import open_masks, open_scenes, pixel_angles
from canopyflow.errors import DataError
from canopyflow.inference.allocation import Allocation, dask_client, pinned_device
from canopyflow.inference.summaries import BATCH_PIXELS, Summary, check_outputs, summarise
from canopyflow.models.bundle import load, read_description
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.estimators.refined import check_refinement, refined
from canopyflow.models.runtime import resolve_device
from canopyflow.observations.observation import Observation, pixels
from canopyflow.progress import track
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import DERIVED, DOUBTS, FLAGS, MAPPED, MASKED, OUTPUTS, STATISTICS, VARIABLES

log = logging.getLogger("canopyflow")

_STRIP = 256
"""Rows of a task and of a shard, and side of a chunk: of a full tile's width the seven statistics of a
variable then take 79 MB, and a task of the nine default variables 1.6 GB in all."""

_ROWS = 128
"""Rows of a block, whose draws share a seed."""


@dataclass(frozen=True)
class MapOptions:
    """What is mapped, and how: ``statistics`` of the variables ``outputs``.

    ``summaries``: "learned" by the model's head, or "drawn" from ``samples`` draws per pixel. ``batch_pixels``: pixels worked on at a time; it is part of what the draws depend on, as ``seed`` is. With
    ``refine`` "importance" the product has a layer ``ess`` too, the effective number of the ``proposals``
    draws of each pixel; below ``least_ess`` a pixel is flagged.
    """

    samples: int = 100
    outputs: Sequence[str] = OUTPUTS
    statistics: Sequence[str] = MAPPED
    summaries: str = "learned"
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


Place = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Rows and columns of pixels in their strip, each (pixels,)."""


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
        places = [(t, y) for t in range(store.sizes["time"]) for y in range(-(-store.sizes["y"] // _STRIP))]
    with atomic_store(out) as scratch:
        write_template(scratch, template, _encoding(template))
        job = Job(str(scenes), str(masks), str(scratch), options)
        with dask_client(allocation) as client:
            client.register_plugin(ModelPlugin(str(bundle), str(resolve_device(options.device)), options))
            futures = client.map(_strip, [job] * len(places), *zip(*places, strict=True), pure=False)
            done = sum(future.result() for future in track(futures, "inference"))
    log.info("%s: posterior of %d pixels in %d acquisitions", out, done, template.sizes["time"])


def _strip(job: Job, time: int, number: int) -> int:
    """Compute and write one strip of one acquisition; the number of pixels computed."""
    worker: Any = get_worker()
    estimator: Estimator = worker.canopyflow_model
    rows = slice(number * _STRIP, (number + 1) * _STRIP)
    product = zarr.open_group(job.out, mode="r+")
    done: list[tuple[Summary, Place]] = []
    with open_masks(Path(job.masks)) as mask:
        valid = mask["valid"].isel(time=time, y=rows).values.astype(bool)
        flags = np.full(valid.shape, MASKED, np.uint8)
        if valid.any():
            doubts = _doubts(mask["quality"].isel(time=time, y=rows))
            with open_scenes(Path(job.scenes), decode=False) as store:
                done = _summaries(job.options, estimator, store.isel(y=rows), time, rows.start, valid)
    for summary, place in done:
        flags[place] = summary.flags | doubts[place]
    array_of(product, "flags")[time, rows] = flags
    if not done:
        return 0
    for i, name in enumerate(job.options.outputs):
        # One variable at a time: all of them at once would take gigabytes.
        layers = _spread([(summary.stats[:, i].T, place) for summary, place in done], valid.shape)
        array_of(product, name)[time, :, rows] = layers
    array_of(product, "fit")[time, rows] = _spread([(s.fit, place) for s, place in done], valid.shape)
    weighed = [(s.ess, place) for s, place in done if s.ess is not None]
    if weighed:
        array_of(product, "ess")[time, rows] = _spread(weighed, valid.shape)
    return sum(len(summary.fit) for summary, _ in done)


def _summaries(
    options: MapOptions,
    estimator: Estimator,
    scene: xr.Dataset,
    time: int,
    first_row: int,
    valid: NDArray[np.bool_],
) -> list[tuple[Summary, Place]]:
    """Summaries of the clear pixels of a strip, block by block; blocks without one are left out."""
    bands, item = estimator.generative.bands, str(scene["item"].values[time])
    numbers = scene["reflectance"].isel(time=time).sel(band=list(bands)).values
    out: list[tuple[Summary, Place]] = []
    for start in range(0, len(valid), _ROWS):
        rows, block = slice(start, start + _ROWS), (first_row + start) // _ROWS
        clear = valid[rows].copy()
        seen = _clear(scene.isel(y=rows), decoded(numbers[:, rows]), time, clear, bands)
        if not len(seen):
            continue
        summary = summarise(
            estimator,
            seen,
            samples=options.samples,
            seed=seed_of(options.seed, item, block),
            outputs=options.outputs,
            batch_pixels=options.batch_pixels,
        )
        y, x = np.nonzero(clear)
        out.append((summary, (y + start, x)))
    return out


def _clear(
    scene: xr.Dataset,
    reflectance: NDArray[np.float32],
    time: int,
    valid: NDArray[np.bool_],
    bands: Sequence[str],
) -> Observation:
    """The clear pixels of one acquisition; those that lack a band or an angle are unset in ``valid``."""
    spectra = np.moveaxis(reflectance, 0, -1)
    angles = np.moveaxis(pixel_angles(scene, time), 0, -1)
    valid &= np.isfinite(spectra).all(-1) & np.isfinite(angles).all(-1)
    platform = str(scene["platform"].values[time])
    return pixels(torch.from_numpy(spectra[valid]), torch.from_numpy(angles[valid]), platform, bands)


def _doubts(quality: xr.DataArray) -> NDArray[np.uint8]:
    """Flags that the mask's informing bits of the same names set; (y, x)."""
    bits = quality.values
    flags = np.zeros(bits.shape, np.uint8)
    masks = np.atleast_1d(quality.attrs.get("flag_masks", ())).tolist()
    for name, mask in zip(str(quality.attrs.get("flag_meanings", "")).split(), masks, strict=True):
        if name in DOUBTS:
            flags |= np.where(bits & mask, np.uint8(FLAGS[name]), np.uint8(0))
    return flags


def _spread(
    parts: Sequence[tuple[NDArray[np.float32], Place]], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Values (..., pixels) and their places -> (..., y, x), NaN where there is none."""
    out = np.full((*parts[0][0].shape[:-1], *shape), np.nan, np.float32)
    for values, place in parts:
        out[..., *place] = values
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
    """A task's strip is a shard; statistics without a value are NaN, flags have no missing value."""
    out: dict[str, dict[str, Any]] = {"time": TIME_ENCODING}
    for name, array in product.data_vars.items():
        fill = np.float32("nan") if array.dtype == np.float32 else None
        out[str(name)] = {**in_strips(array.shape, _STRIP, _STRIP), "_FillValue": fill}
    return out
