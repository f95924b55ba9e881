"""Judging an item that a catalogue gives: what is kept of it, or why it cannot be used."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from canopyflow.archive import footprint
from canopyflow.archive import items as stac
from canopyflow.archive.addresses import cleaned, query_names, without_secrets
from canopyflow.archive.catalogue import Found
from canopyflow.archive.harmonise import decide_offset
from canopyflow.archive.names import is_plain
from canopyflow.errors import ArchiveError

ASSET_FIELDS = re.compile(
    r"href|type|title|roles|gsd|bands|proj:.*|raster:.*|eo:.*|file:.*|view:.*|data_type|nodata|unit"
)


@dataclass(frozen=True)
class Wanted:
    """What an item must be like; the fields are those of :class:`canopyflow.archive.search.Query`."""

    bands: Sequence[str]
    start: date
    end: date
    max_cloud_cover: float
    tiles: tuple[str, ...] = ()
    from_bucket: bool = False


@dataclass
class Candidates:
    """Judges items one by one; ``cut`` collects the names of what was cut from their addresses."""

    wanted: Wanted
    cut: set[str] = field(default_factory=set)

    def judge(self, found: Found, base: Path | None, area: BaseGeometry) -> stac.Item | None:
        """The item as it is pinned; None where nobody asked for it.

        Raises:
            Unusable: with the reason for ``lock.rejected``.
        """
        try:
            return self._pinned(found, base) if self._asked(found.item, area) else None
        except (ArithmeticError, AttributeError, LookupError, ShapelyError, TypeError, ValueError) as error:
            problem = f"is no valid STAC item ({type(error).__name__}: {error})"
            raise stac.Unusable(problem) from error

    def _asked(self, item: stac.Item, area: BaseGeometry) -> bool:
        """Whether the item lies in area, tiles and period."""
        wanted = self.wanted
        if wanted.tiles and stac.mgrs_tile(item) not in wanted.tiles:
            return False
        outline = stac.outline(item)
        if not wanted.tiles and not footprint.touch(outline, area):
            return False
        return wanted.start <= stac.acquired(item).date() <= wanted.end

    def _pinned(self, found: Found, base: Path | None) -> stac.Item:
        """The item reduced to what later stages need, asset keys and hrefs in our spelling."""
        item = found.item
        if not is_plain(item["id"]):
            raise stac.Unusable("its id cannot name a file: letters, digits, '.', '_' and '-' can")
        cover, limit = item["properties"].get("eo:cloud_cover"), self.wanted.max_cloud_cover
        if cover is not None and float(cover) > limit:
            raise stac.Unusable(f"cloud cover {float(cover):.1f} % is above {limit:g} %")
        pinned: stac.Item = {
            "type": "Feature",
            "stac_version": item.get("stac_version", "1.0.0"),
            "stac_extensions": list(item.get("stac_extensions") or []),
            "id": item["id"],
            "geometry": item.get("geometry"),
            "bbox": item.get("bbox"),
            # stackstac knows proj:epsg only, and pystac >= 1.15 renames it on reading.
            "properties": {**cleaned(item["properties"]), "proj:epsg": stac.epsg(item)},
            "collection": item.get("collection"),
            "links": _self_link(item) if base is None else [],
            "assets": self._assets(found, base),
            "canopyflow": {
                "tile": [],
                "month": stac.acquired(item).strftime("%Y-%m"),
                "platform": stac.platform(item),
                "duplicates": [],
            },
        }
        try:
            decide_offset(pinned)
        except ArchiveError as error:
            raise stac.Unusable(error.problem) from error
        return pinned

    def _assets(self, found: Found, base: Path | None) -> dict[str, Any]:
        """Bands, SCL, and the metadata: these may be missing, or where nothing here can reach them."""
        assets = {}
        for name in (*self.wanted.bands, stac.SCL):
            assets[name] = self._asset(found, base, name)
            stac.check_placement(found.item, assets[name], name)
        for name in stac.OTHER_KEYS:
            try:
                assets[name] = self._asset(found, base, name)
            except stac.Unusable:
                continue
        return assets

    def _asset(self, found: Found, base: Path | None, name: str) -> dict[str, Any]:
        problems = []
        candidates = list(stac.asset_candidates(found.item, name))
        for asset in sorted(
            candidates, key=lambda a: stac.is_bucket(a["href"]) is not self.wanted.from_bucket
        ):
            try:
                href = stac.pin_href(asset["href"], found.folder, base)
            except stac.Unusable as reason:
                problems.append(f"asset {name}: {reason}")
                continue
            self.cut |= query_names(asset["href"])
            kept = {key: value for key, value in asset.items() if ASSET_FIELDS.fullmatch(key)}
            if str(kept.get("proj:code") or "").startswith("EPSG:"):
                kept["proj:epsg"] = int(kept["proj:code"].removeprefix("EPSG:"))
            return {**cleaned(kept), "href": href}
        raise stac.Unusable(problems[0] if problems else f"asset {name} is missing")


def _self_link(item: stac.Item) -> list[dict[str, str]]:
    """The item's own address in a remote catalogue; that of a local one changes with every move."""
    links = (link for link in item.get("links") or [] if link.get("rel") == "self")
    return [{"rel": "self", "href": without_secrets(link["href"])} for link in links][:1]
