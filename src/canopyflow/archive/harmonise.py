"""The -1000 radiometric offset of baseline 04.00: one function decides, another checks it on the pixels.

Since processing baseline 04.00 (25 January 2022, and reprocessed older dates) surface reflectance is (DN -
1000) / 10000; before it is DN / 10000. Some archives shift the pixels back, some only say so, and the
acquisition date tells nothing. Source: Sentinel-2 Products Specification Document, BOA_ADD_OFFSET; for
earth-search, Element84/earth-search issues 66 and 71.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from defusedxml import ElementTree

from canopyflow.archive.items import COMMON_NAMES, SCL, Item, baseline
from canopyflow.errors import ArchiveError
from canopyflow.vocabulary import OFFSET_FLOOR, VISIBLE

OFFSET = -1000
FIRST_WITH_OFFSET = (4, 0)
NOT_ESA = "99.99"
"""Baseline of products that CloudFerro, not ESA, generated with Sen2Cor; they carry the offset."""

CLEAR_CLASSES = (4, 5, 6)
RESIDUAL = (OFFSET_FLOOR, 0.16)
"""Where the darkest clear pixels of all visible bands lie when 0.1 was not removed (reflectance)."""
CLIPPED_SHARE = 0.2
FEWEST_PIXELS = 30


@dataclass(frozen=True)
class OffsetDecision:
    """``offset`` is added to DN that are not 0; ``reason`` is for the log and the scene store."""

    offset: int
    reason: str


def decide_offset(item: Item, metadata_offset: int | None = None) -> OffsetDecision:
    """Offset to add to the DN of ``item``.

    Sources, best first: ``earthsearch:boa_offset_applied`` (true: the copy was
    shifted, whatever ``raster:bands`` says); BOA_ADD_OFFSET of the product's own
    metadata; the processing baseline. ``raster:bands.offset`` is reported where it
    disagrees but does not decide: catalogues fill it in without touching pixels.

    Raises:
        ArchiveError: none of them is there.
    """
    declared = declared_band_offset(item)
    applied = item["properties"].get("earthsearch:boa_offset_applied")
    if applied is True:
        note = (
            "" if not declared else f" (raster:bands.offset {declared / 10000:g} must not be applied again)"
        )
        return OffsetDecision(0, f"earthsearch:boa_offset_applied is true{note}")
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
        notes.append("earthsearch:boa_offset_applied is false")
    elif item.get("collection") == "sentinel-2-c1-l2a":
        notes.append("this collection never applies it")
    elif "sentinel-cogs" in _first_href(item):
        notes.append("earth-search item without boa_offset_applied: uncertain")
    if declared is not None and declared != offset:
        notes.append(f"raster:bands.offset {declared / 10000:g} disagrees and was not believed")
    return OffsetDecision(offset, ", ".join(notes))


def declared_band_offset(item: Item) -> int | None:
    """``raster:bands.offset`` (or ``raster:offset``) of the first band that has one, in DN."""
    names = [n for band, common in COMMON_NAMES.items() if band != SCL for n in (band, common)]
    for asset in (item["assets"][n] for n in names if n in item["assets"]):
        for source in (asset, *asset.get("raster:bands", [])[:1], *asset.get("bands", [])[:1]):
            scale = source.get("scale", source.get("raster:scale"))
            offset = source.get("offset", source.get("raster:offset"))
            if offset is not None and scale:
                return round(float(offset) / float(scale))
    return None


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


def check_residual_offset(
    reflectance: npt.NDArray[Any], scl: npt.NDArray[Any], bands: Sequence[str]
) -> str | None:
    """What in the pixels speaks against the decision: a sentence, or None when nothing does.

    Args:
        reflectance: (band, y, x), offset removed, NaN where missing.
        scl: (y, x) scene classification.
        bands: names along the first axis.

    This warns and never decides: a hazy, bright field has minima near 0.1 without carrying the offset.
    """
    visible = [i for i, band in enumerate(bands) if band in VISIBLE]
    clear = np.isin(scl, CLEAR_CLASSES) & np.isfinite(reflectance[visible]).all(axis=0)
    if not visible or clear.sum() < FEWEST_PIXELS:
        return None
    values = reflectance[visible][:, clear]
    darkest = np.quantile(values, 0.01, axis=1)
    listed = " ".join(f"{bands[i]} {v:.3f}" for i, v in zip(visible, darkest, strict=True))
    if (darkest > RESIDUAL[0]).all() and (darkest < RESIDUAL[1]).any():
        return f"darkest clear pixels near 0.1 ({listed}): the offset may still be in"
    clipped = float((values <= 1.5e-4).any(axis=0).mean())
    if clipped > CLIPPED_SHARE:
        return f"{clipped:.0%} of clear pixels at or below 0 in the visible: the offset may be removed twice"
    return None
