"""Parcels of the maps of a model, from the folders of a campaign: what `canopyflow extract` does."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd

from canopyflow.atomic import STORE_METADATA, content_digest
from canopyflow.errors import DataError
from canopyflow.inference.parcels.extract import ExtractOptions, Month, extract, outputs_of
from canopyflow.inference.parcels.files import read_parcels
from canopyflow.inference.parcels.law import (
    Correlations,
    Design,
    correlations,
    read_correlations,
    write_correlations,
)
from canopyflow.inference.parcels.tables import check_targets, write_part, write_tables
from canopyflow.inference.stored import open_product
from canopyflow.models.bundle import load
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.estimators.refined import refined
from canopyflow.models.runtime import resolve_device
from canopyflow.shipped import bundle_of

log = logging.getLogger("canopyflow")


@dataclass(frozen=True)
class Sources:
    """Where the stores of a campaign lie, each None where it is found beside the products: ``bundle``,
    ``scenes`` and ``masks`` are folders (of ``{tile}/{month}.zarr``, as the products are)."""

    bundle: Path | None = None
    scenes: Path | None = None
    masks: Path | None = None


@dataclass(frozen=True)
class Asked:
    """How: ``name`` of the property that names a parcel; ``proposals`` and ``least_ess`` where the maps are
    refined; ``options`` of the draws; ``device``."""

    name: str | None = None
    proposals: int = 2000
    least_ess: float = 100.0
    options: ExtractOptions = field(default_factory=ExtractOptions)
    device: str = "auto"


def extract_products(
    products: Path,
    parcels: Path,
    out: Sequence[Path],
    asked: Asked | None = None,
    sources: Sources | None = None,
) -> None:
    """Write the table of the ``parcels`` of a file for the maps in ``products``: all of a model, of one of
    its tiles, or one store.

    Raises DataError for whatever is not there or does not belong together.
    """
    asked, sources = asked or Asked(), sources or Sources()
    check_targets(out)
    table = read_parcels(parcels, asked.name)
    stores = stores_of(products)
    months = [month_of(store, sources) for store in stores]
    bundle = bundle_behind(stores[0], sources)
    model, found = prepared(bundle, months, asked)
    parts = (extract(model, month, table, found, asked.options) for month in months)
    write_tables(parts, table, out)


def prepared(bundle: Path, months: Sequence[Month], asked: Asked) -> tuple[Estimator, Correlations]:
    """The model that made the maps, and how alike the errors of pixels of a parcel are under it. Raises
    DataError for maps of another model."""
    digest = content_digest(bundle)
    for month in months:
        with open_product(month.product) as product:
            if product.attrs.get("bundle_sha256") != digest:
                raise DataError(
                    f"{month.product} was not made by the model {bundle}", "map again, or name its model"
                )
    model = estimator_of(bundle, months[0].product, asked)
    with open_product(months[0].product) as product:
        names = outputs_of(product)
    return model, correlations(model, names, Design(seed=asked.options.seed), digest)


def estimator_of(bundle: Path, product: Path, asked: Asked) -> Estimator:
    """The estimator behind a product: the bundle's, refined if the product is."""
    with open_product(product) as store:
        kind = "importance" if "ess" in store else "none"
    return loaded(bundle, kind, asked)


def loaded(bundle: Path, refine: str, asked: Asked) -> Estimator:
    """The model of a bundle, refined as ``refine`` says."""
    return refined(load(bundle, str(resolve_device(asked.device))), refine, asked.proposals, asked.least_ess)


def stores_of(products: Path) -> list[Path]:
    """The product stores of a folder. Raises DataError if there is none."""
    if (products / STORE_METADATA).is_file():
        return [products.resolve()]
    found = sorted(
        path.parent for level in ("*", "*/*") for path in products.glob(f"{level}/{STORE_METADATA}")
    )
    found = [store.resolve() for store in found if store.suffix == ".zarr"]
    if not found:
        raise DataError(
            f"{products} holds no product store",
            "give results/CAMPAIGN/products/MODEL, one of its tiles, or one store ({tile}/{month}.zarr)",
        )
    return found


def month_of(store: Path, sources: Sources) -> Month:
    """Scenes and masks of a product store. Raises DataError, with the option that names them, if they are not
    there."""
    place = Path(store.parent.name) / store.name
    found = {}
    for kind, given in (("scenes", sources.scenes), ("masks", sources.masks)):
        folder = given or _campaign(store) / kind
        if not (folder / place / STORE_METADATA).is_file():
            raise DataError(
                f"{folder / place} is not there: draws are made from scenes and masks", f"name --{kind}"
            )
        found[kind] = folder / place
    return Month(store, **found)


def bundle_behind(store: Path, sources: Sources) -> Path:
    """The bundle of the model that made a product. Raises DataError if there is none."""
    if sources.bundle is not None:
        return bundle_of(sources.bundle)
    with open_product(store) as product:
        digest = product.attrs.get("bundle_sha256")
    folder = _campaign(store) / "models" / store.parent.parent.name
    for bundle in _bundles(folder):
        if content_digest(bundle) == digest:
            return bundle
    raise DataError(f"{folder} holds no model that made {store}", "name it with --model")


def _bundles(folder: Path) -> Iterator[Path]:
    return (path.parent for path in sorted(folder.glob("*/model.json")))


def _campaign(store: Path) -> Path:
    """results/{campaign} of results/{campaign}/products/{model}/{tile}/{month}.zarr."""
    return store.parents[3]


def correlate(bundle: Path, out: Path, outputs: Sequence[str], refine: str, asked: Asked) -> None:
    """Write the correlations of those of the ``outputs`` that a model estimates."""
    model = loaded(bundle, refine, asked)
    known = {variable.name for variable in model.estimates}
    names = [name for name in outputs if name in known]
    found = correlations(model, names, Design(seed=asked.options.seed), content_digest(bundle))
    write_correlations(found, out)
    told = ", ".join(f"{name} {found.rho[name]:.2f} ± {found.error[name]:.2f}" for name in names)
    log.info("correlation of pixels of a parcel: %s", told)


def read_correlation(path: Path) -> Correlations:
    """What :func:`correlate` wrote."""
    return read_correlations(json.loads(path.read_text()))


def extract_month(
    bundle: Path, month: Month, parcels: Path, correlation: Path, out: Path, asked: Asked
) -> None:
    """Write the rows of one tile and month, from parcels that were checked (GeoParquet)."""
    found = read_correlation(correlation)
    model = estimator_of(bundle, month.product, asked)
    write_part(extract(model, month, gpd.read_parquet(parcels), found, asked.options), out)
