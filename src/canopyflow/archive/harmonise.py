"""From the numbers in an archive's files to digital numbers of reflectance: scale and radiometric offset.

Since processing baseline 04.00 (25 January 2022, and reprocessed older dates) surface reflectance is (DN -
1000) / 10000; before it is DN / 10000. Some archives shift the pixels back, some only say so, and the
acquisition date tells nothing. Source: Sentinel-2 Products Specification Document, BOA_ADD_OFFSET; for
earth-search, Element84/earth-search issues 66 and 71. One function decides the offset from what is declared,
another one (:mod:`canopyflow.archive.judgement`) holds the decision against the pixels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from defusedxml import ElementTree

from canopyflow.archive.items import COMMON_NAMES, SCL, Item, baseline
from canopyflow.errors import ArchiveError

OFFSET = -1000
FIRST_WITH_OFFSET = (4, 0)
NOT_ESA = "99.99"
"""Baseline of products that CloudFerro, not ESA, generated with Sen2Cor; they carry the offset."""

STEP = 1e-4
"""Reflectance of one digital number (BOA_QUANTIFICATION_VALUE 10000)."""

HUGE = 1e19
"""Numbers from here on stand for missing data in float files (1e20, 3.4e38)."""

APPLIED = "boa_offset_applied"
"""Property, under a catalogue's own prefix, that says whether the archive has shifted the pixels."""

TRUE, FALSE = ("true", "1", "yes", "t", "y"), ("false", "0", "no", "f", "n")


@dataclass(frozen=True)
class OffsetDecision:
    """``offset`` is added to DN that are not 0; ``reason`` is for the log and the scene store."""

    offset: int
    reason: str


@dataclass(frozen=True)
class Scaling:
    """Reflectance is number times ``scale``, before the offset.

    ``declared``: the item says so. ``plain``: the file's numbers are unsigned DN in steps of 1e-4, and need
    no conversion.
    """

    scale: float
    declared: bool
    plain: bool


def decide_offset(item: Item, metadata_offset: int | None = None, dtype: str | None = None) -> OffsetDecision:
    """Offset to add to the DN (steps of 1e-4 of reflectance) of ``item``.

    Sources, best first: ``boa_offset_applied`` of earth-search and sentinel-cogs (true: the copy was shifted,
    whatever ``raster:bands`` says); the declared offset where the archive declares another scale than 1e-4,
    because it then has rewritten the numbers; BOA_ADD_OFFSET of the product's own metadata; the processing
    baseline. Otherwise ``raster:bands.offset`` is reported where it disagrees but does not decide: catalogues
    fill it in without touching pixels. ``dtype``: data type of the files where it is known.

    Raises:
        ArchiveError: none of them is there, or one of them cannot be understood.
    """
    declared = declared_band_offset(item)
    rescaled = _rescaled_offset(item, dtype)
    applied, flag = offset_applied(item)
    if applied:
        note = (
            "" if not declared else f" (raster:bands.offset {declared / 10000:g} must not be applied again)"
        )
        return OffsetDecision(0, f"{flag} is true{note}")
    if rescaled is not None and applied is None:
        return OffsetDecision(rescaled, f"declared with another scale than 1e-4: offset {rescaled / 10000:g}")
    if metadata_offset is not None:
        return OffsetDecision(metadata_offset, f"BOA_ADD_OFFSET {metadata_offset} in the product metadata")
    found = baseline(item)
    if not found:
        raise ArchiveError(
            f"{item['id']}: no processing baseline in properties or name, so the offset cannot be decided",
            "leave the item out or add s2:processing_baseline to it",
        )
    number = tuple(int(part) for part in found.split("."))
    offset = OFFSET if number >= FIRST_WITH_OFFSET else 0
    notes = [f"processing baseline {found}"]
    if found == NOT_ESA:
        notes.append("not ESA's chain, carries the offset")
    if applied is False:
        notes.append(f"{flag} is false")
    elif item.get("collection") == "sentinel-2-c1-l2a":
        notes.append("this collection never applies it")
    elif "sentinel-cogs" in _first_href(item):
        notes.append("earth-search item without boa_offset_applied: uncertain")
    if declared is not None and declared != offset:
        notes.append(f"raster:bands.offset {declared / 10000:g} disagrees and was not believed")
    return OffsetDecision(offset, ", ".join(notes))


def offset_applied(item: Item) -> tuple[bool | None, str]:
    """Whether the item says that its pixels were shifted (None: it is silent), and the property that says so.

    Raises:
        ArchiveError: the property is neither true nor false, or two of them contradict each other.
    """
    said: dict[str, bool] = {}
    for name, value in sorted(item["properties"].items()):
        if name.rpartition(":")[2] == APPLIED and value is not None:
            said[name] = _truth(value, f"{item['id']}: {name}")
    if len(set(said.values())) > 1:
        raise ArchiveError(f"{item['id']}: {' and '.join(said)} contradict each other", "leave the item out")
    name = next(iter(said), "")
    return said.get(name), name


def _truth(value: object, what: str) -> bool:
    """A truth value however it is written: true, "True", 1, "0"."""
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().lower()
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ArchiveError(f"{what} is {value!r}, neither true nor false", "leave the item out or mend it")


def asset_scaling(item: Item, name: str, dtype: str | None = None) -> Scaling:
    """How the numbers of asset ``name`` (a band, or SCL, whose classes are not scaled) become reflectance.

    Args:
        item: pinned item, or one that an archive wrote.
        name: band name, ``B04``, whatever the asset's key.
        dtype: of the file; else the one that the item declares, else uint16.

    Raises:
        ArchiveError: a float, signed or 8-bit file without a declared scale, or a scale that is no positive
            number.
    """
    asset = _asset(item, name)
    kind = np.dtype(dtype or _declared_type(asset) or "uint16")
    if name == SCL:
        return Scaling(STEP, False, True)
    what = f"{item['id']}: asset {name}"
    scale = _declared(asset, "scale", what)
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise ArchiveError(f"{what} declares the scale {scale:g}", "leave the item out")
    if kind.kind == "u" and kind.itemsize > 1 and (scale is None or scale == 1.0):
        # 1 is what STAC fills in where nobody says anything; reflectances are no whole numbers.
        return Scaling(STEP, False, True)
    if kind.kind not in "fiu":
        raise ArchiveError(f"{what} holds {kind}, which is no reflectance", "leave the item out")
    if scale is None:
        raise ArchiveError(
            f"{what} holds {kind} and declares no scale, so its unit is unknown",
            "declare raster:bands.scale (1 for reflectance, 0.0001 for DN) or leave the item out",
        )
    return Scaling(scale, True, kind.kind == "u" and math.isclose(scale, STEP, rel_tol=1e-6))


def as_dn(numbers: npt.NDArray[Any], scaling: Scaling, nodata: float | None = None) -> npt.NDArray[np.uint16]:
    """Numbers of a file as DN in steps of 1e-4: 0 where there is no data, else at least 1.

    No data is 0, ``nodata``, whatever is not finite, and huge stand-ins (1e20).
    """
    if scaling.plain and numbers.dtype == np.uint16 and not nodata:
        return numbers
    values = numbers.astype(np.float64)
    missing = ~np.isfinite(values) | (values == 0) | (np.abs(values) >= HUGE)
    if nodata is not None:
        missing |= values == nodata
    dn = np.rint(np.where(missing, 0.0, values) * (scaling.scale / STEP))
    return np.where(missing, 0, np.clip(dn, 1, 65535)).astype(np.uint16)


def _asset(item: Item, name: str) -> dict[str, Any]:
    for key in (name, COMMON_NAMES.get(name, name)):
        if key in item["assets"]:
            return dict(item["assets"][key])
    return {}


def _sources(asset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Where an asset may declare scale, offset and type: itself (STAC 1.1), raster:bands, bands."""
    yield asset
    for name in ("raster:bands", "bands"):
        yield from [band for band in (asset.get(name) or [])[:1] if isinstance(band, dict)]


def _declared(asset: dict[str, Any], name: str, what: str) -> float | None:
    """Number called ``name`` or ``raster:name`` of an asset, also where it is written as text."""
    for source in _sources(asset):
        value = source.get(name, source.get(f"raster:{name}"))
        if value is not None:
            try:
                return float(value)
            except (TypeError, ValueError) as error:
                raise ArchiveError(f"{what} declares the {name} {value!r}, which is no number") from error
    return None


def _declared_type(asset: dict[str, Any]) -> str | None:
    known = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")
    found = next((s["data_type"] for s in _sources(asset) if s.get("data_type")), None)
    return found if found in known else None


def _bands(item: Item) -> list[str]:
    return [band for band in COMMON_NAMES if band != SCL and _asset(item, band)]


def _rescaled_offset(item: Item, dtype: str | None) -> int | None:
    """Declared offset, steps of 1e-4, of an item whose every band has another scale than 1e-4, else None."""
    bands = _bands(item)
    scalings = [asset_scaling(item, band, dtype) for band in bands]
    other = [s.declared and not math.isclose(s.scale, STEP, rel_tol=1e-6) for s in scalings]
    if not other or not all(other):
        return None
    offsets = {_band_offset(item, band) or 0 for band in bands}
    if len(offsets) > 1:
        raise ArchiveError(f"{item['id']}: bands declare different offsets: {sorted(offsets)}")
    return offsets.pop()


def _band_offset(item: Item, band: str) -> int | None:
    """Declared offset of a band in steps of 1e-4; some write reflectance (-0.1) and some DN (-1000)."""
    offset = _declared(_asset(item, band), "offset", f"{item['id']}: asset {band}")
    if offset is None or not math.isfinite(offset):
        return None
    return round(offset / STEP if abs(offset) < 1 else offset)


def declared_band_offset(item: Item) -> int | None:
    """Offset that the first band with one declares, in steps of 1e-4 (DN); None where none does."""
    return next((o for band in _bands(item) if (o := _band_offset(item, band)) is not None), None)


def _first_href(item: Item) -> str:
    return str(next((item["assets"][k].get("href", "") for k in sorted(item["assets"])), ""))


def metadata_offset(xml: bytes, name: str = "product metadata") -> int | None:
    """BOA_ADD_OFFSET of MTD_MSIL2A.xml: the common value, 0 for a product without the element.

    None for a file that says nothing about it (MTD_TL.xml).

    Raises:
        ArchiveError: not XML, or bands with different offsets.
    """
    try:
        root = ElementTree.fromstring(xml)
    except Exception as error:  # defusedxml raises several unrelated types for malformed and forbidden XML
        raise ArchiveError(f"{name} is not readable XML: {error}") from error
    values = {int(float(e.text)) for e in root.iter("BOA_ADD_OFFSET") if e.text}
    if len(values) > 1:
        raise ArchiveError(f"{name}: BOA_ADD_OFFSET differs between bands: {sorted(values)}")
    if values:
        return values.pop()
    return 0 if next(root.iter("BOA_QUANTIFICATION_VALUE"), None) is not None else None


def apply_offset(dn: npt.NDArray[Any], offset: int) -> npt.NDArray[np.uint16]:
    """DN with the offset added; 0 stays 0 (no data), everything else is at least 1."""
    shifted = np.clip(dn.astype(np.int32) + offset, 1, 65535)
    return np.where(dn == 0, 0, shifted).astype(np.uint16)
