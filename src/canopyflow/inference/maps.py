"""Posterior maps of one tile-month: scenes and masks in, a product store out.

Every task is one strip of one acquisition (:mod:`canopyflow.inference.blocks`); the seed of a piece comes
from the item and its place. So an acquisition's map does not change when another one joins its month.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from canopyflow.atomic import content_digest
from canopyflow.cubes.layout import TIME_ENCODING, empty, in_one_shard
from canopyflow.cubes.stores import open_masks, open_scenes
from canopyflow.errors import ConfigError, DataError
from canopyflow.inference.allocation import Allocation
from canopyflow.inference.blocks import SIDE, STRIP, Job, MapOptions, Mapper, product_layers
from canopyflow.inference.encoding import ABOUT, COMPRESSOR, FILL, FIT_SCALE, cf_attributes, scale_of
from canopyflow.inference.summaries import DRAWN, LEARNED, check_outputs, check_statistics
from canopyflow.inference.writing import write_product
from canopyflow.models.bundle import load, read_description
from canopyflow.models.estimators.refined import check_refinement, refined
from canopyflow.vocabulary import FLAGS

__all__ = ["MapOptions", "infer"]

log = logging.getLogger("canopyflow")


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
    Of the outputs asked for, those that a baseline does not estimate are left out, and its draws are not
    refined. Raises DataError if the model and the scenes do not fit (band or platform), ConfigError for an
    unknown output or statistic, for outputs of which the model estimates none, or a device that is not there.
    """
    options = options or MapOptions()
    check_outputs(options.outputs)
    check_statistics(options.statistics)
    check_refinement(options.refine)
    about = {**read_description(bundle), "sha256": content_digest(bundle)}
    options = _of_baseline(about, options) if "estimator" in about else options
    write_maps(
        partial(_mapper, str(bundle)), about, Path(scenes), Path(masks), Path(out), options, allocation
    )


def _of_baseline(about: Mapping[str, Any], options: MapOptions) -> MapOptions:
    """What a baseline can do of what is asked for. Raises ConfigError if that is nothing."""
    estimated = [variable["name"] for variable in about["estimates"]]
    outputs = [name for name in options.outputs if name in estimated]
    if not outputs:
        raise ConfigError(
            f"{about['estimator']['name']} estimates none of {', '.join(options.outputs)}",
            f"it estimates {', '.join(estimated) or 'nothing'}",
        )
    left_out = [name for name in options.outputs if name not in estimated]
    if left_out:
        log.info("%s does not estimate %s: not mapped", about["estimator"]["name"], ", ".join(left_out))
    return replace(options, outputs=outputs, refine="none")


def write_maps(
    make: Callable[[Job, str], Mapper],
    about: Mapping[str, Any],
    scenes: Path,
    masks: Path,
    out: Path,
    options: MapOptions,
    allocation: Allocation | None = None,
) -> None:
    """Write a product store with a mapper that ``make`` makes of a job and a device on each worker.

    ``about``: the description of the model, as in its ``model.json``, and ``sha256`` of its bundle.
    """
    with open_scenes(scenes) as store, open_masks(masks) as mask:
        _check(store, mask, about, str(scenes))
        template = _template(store, about, options)
        places = [(t, y) for t in range(store.sizes["time"]) for y in range(-(-store.sizes["y"] // STRIP))]
    made = partial(_job, make, str(scenes), str(masks), options)
    done, drawn = write_product(
        out, template, _encoding(template), made, places, options.device, allocation or Allocation()
    )
    log.info(
        "%s: posterior of %d pixels in %d acquisitions, %d of them drawn (%.2g %%)",
        *(out, done, template.sizes["time"], drawn, 100 * drawn / max(done, 1)),
    )


def _job(
    make: Callable[[Job, str], Mapper], scenes: str, masks: str, options: MapOptions, out: str, device: str
) -> Mapper:
    return make(Job(scenes, masks, out, options), device)


def _mapper(bundle: str, job: Job, device: str) -> Mapper:
    o = job.options
    return Mapper(job, refined(load(bundle, device), o.refine, o.proposals, o.least_ess))


def _check(store: xr.Dataset, mask: xr.Dataset, description: Mapping[str, Any], name: str) -> None:
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


def _template(store: xr.Dataset, description: Mapping[str, Any], options: MapOptions) -> xr.Dataset:
    """The product without its numbers: coordinates, attributes, and shapes."""
    plane = tuple(store.sizes[d] for d in ("time", "y", "x"))
    grid: dict[str, Any] = {"grid_mapping": "spatial_ref"} if "spatial_ref" in store.variables else {}
    of_planes: dict[str, tuple[type[np.generic], dict[str, Any]]] = {
        "fit": (
            np.float32,
            {
                "long_name": "distance of the posterior from the observation",
                "units": "standard deviations of noise",
            },
        ),
        "ess": (np.float32, {"long_name": "effective number of importance-weighted draws", "units": "1"}),
        "flags": (np.uint8, {"flag_masks": list(FLAGS.values()), "flag_meanings": " ".join(FLAGS)}),
    }
    data: dict[str, Any] = {}
    for name in product_layers(options):
        if name in of_planes:
            kind, about = of_planes[name]
            data[name] = (("time", "y", "x"), empty(plane, kind), {**about, **grid})
        else:
            about = {"long_name": ABOUT[name].long_name, "units": ABOUT[name].unit}
            shape = (plane[0], len(options.statistics), *plane[1:])
            data[name] = (("time", "statistic", "y", "x"), empty(shape, np.float32), {**about, **grid})
    keep = [c for c in ("time", "item", "platform", "y", "x", "spatial_ref") if c in store.variables]
    coords: dict[str, Any] = {name: store[name].variable for name in keep} | {
        "statistic": np.array(options.statistics, dtype=object)
    }
    attrs = {k: store.attrs[k] for k in ("tile", "month", "epsg", "crs_wkt", "transform") if k in store.attrs}
    attrs |= {
        **({"family": description["family"]["name"]} if "family" in description else {}),
        **({"estimator": description["estimator"]["name"]} if "estimator" in description else {}),
        "seed": description["seed"],
        "bundle_sha256": description["sha256"],
        "summaries": _made(description, options),
        "samples": options.samples,
    }
    return xr.Dataset(data, coords=coords, attrs=attrs).drop_encoding()


def _made(description: Mapping[str, Any], options: MapOptions) -> str:
    """How summaries are made, which is not always what was wished: those of a network that did not pass its
    check are not used, and refined posteriors have none."""
    learns = options.refine == "none" and bool(description.get("summaries", {}).get("passed"))
    return LEARNED if learns and options.summaries == LEARNED else DRAWN


def _encoding(product: xr.Dataset) -> Mapping[str, dict[str, Any]]:
    """One shard per array; numbers as in :mod:`canopyflow.inference.encoding`, and flags everywhere."""
    out: dict[str, dict[str, Any]] = {"time": TIME_ENCODING}
    for each, array in product.data_vars.items():
        name = str(each)
        if name == "flags":
            numbers: dict[str, Any] = {"_FillValue": None}
        elif name == "ess":
            numbers = {"_FillValue": np.float32("nan"), "fill_value": np.float32("nan")}
        else:
            scale = FIT_SCALE if name == "fit" else scale_of(name)
            numbers = {"dtype": "int16", "fill_value": FILL, **cf_attributes(scale)}
        out[name] = {**in_one_shard(array.shape, SIDE), "compressors": COMPRESSOR, **numbers}
    return out
