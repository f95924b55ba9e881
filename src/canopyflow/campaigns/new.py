"""A campaign file to begin with: what most people change, with a remark for each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

from canopyflow.archive.areas import areas_of
from canopyflow.archive.footprint import bbox_of
from canopyflow.archive.presets import DEMO, PRESETS
from canopyflow.archive.tiling import acquisitions, tiles_of
from canopyflow.config import load_campaign, schema
from canopyflow.config.campaign import Campaign
from canopyflow.errors import ConfigError
from canopyflow.vocabulary import STATISTICS

FOLDER = Path("config/campaigns")
LARGE = 20_000.0
"""Square kilometres, two tiles: beyond, a first campaign says that it is no small one."""

TEXT = """\
# Campaign {campaign}, written by `canopyflow campaign new`. Other keys have defaults: docs/configuration.md.

campaign: {campaign}  # results go to results/{campaign}

# Where: {where}. Paths are those seen from where Snakemake runs.
area: {area}
period: {{start: {start}, end: {end}}}  # both days included

# {catalogue}
archive:
  catalog: {catalog}
  max_cloud_cover: 90  # percent of the whole scene; cloudy pixels of the others are masked

# Metres; 10 costs four times the time and space of 20.
grid: {{resolution: 20}}

# A model that comes with the package, so that nothing has to be trained. To train your own and compare them:
# families: [truncated_normal, nsf], and `baselines: null` for all that they can be held against.
families: []
models:
  ready: {{shipped: s2}}
baselines: []

# What is mapped of each pixel (lai, gai, ccc, cwc, fapar, fcover, cab ...), and what of it is published.
inference:
  outputs: {outputs}
  statistics: {statistics}{why}
publication: {{variables: [lai, ccc]}}
{evaluation}"""

PLOTS = """
# Field measurements that the maps are held against (docs/evaluation.md#field-plots).
evaluation:
  plots: {plots}
  max_days: 3  # between a visit and the acquisition
"""


@dataclass(frozen=True)
class Asked:
    """What a new campaign is asked to be.

    Attributes:
        name: of the campaign.
        area: a GeoJSON file of polygons, or ``west,south,east,north`` in degrees.
        period: ``2021-03-01..2021-07-31``.
        catalog: a preset, or address or path of a catalogue.
        plots: table of field plots, if there is one.
        out: file to write; by default ``config/campaigns/NAME.yaml``.
    """

    name: str
    area: str
    period: str
    catalog: str
    plots: Path | None = None
    out: Path | None = None


@dataclass(frozen=True)
class Written:
    """The new file, its campaign, and what is to be said: about its size, and what may surprise."""

    path: Path
    campaign: Campaign
    remarks: tuple[str, ...]


def write_campaign(asked: Asked) -> Written:
    """Write a new campaign file.

    Raises:
        ConfigError: what is asked is no campaign (one line for each mistake), or the file is there already.
        ArchiveError: the area's file has no polygon.
        DataError: the table of plots cannot be right.
    """
    path = asked.out or FOLDER / f"{asked.name}.yaml"
    start, end = _period(asked.period)
    area = _area(asked.area)
    values: dict[str, Any] = {
        "campaign": asked.name,
        "area": area,
        "period": {"start": start, "end": end},
        "archive": {"catalog": asked.catalog},
        "families": [],
        "models": {"ready": {"shipped": "s2"}},
        "baselines": [],
    }
    if asked.plots is not None:
        values["evaluation"] = {"plots": asked.plots.as_posix()}
    campaign = load_campaign(values)
    if path.exists():
        raise ConfigError(f"{path} is there already", "nothing is overwritten: another name, or --out")
    (polygon,) = areas_of(campaign.query["area"]).polygons.values()
    remarks = [*_size(campaign, polygon), *_surprises(campaign, polygon)]
    outputs = list(campaign.inference.outputs)
    if asked.plots is not None:
        measured, remark = _plots(asked.plots)
        remarks.append(remark)
        outputs += [name for name in measured if name not in (*outputs, *campaign.physics.not_estimated)]
    text = _text(campaign, asked, area, outputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    full = schema.with_line(text, path, schema.schema_for(path))
    try:
        with path.open("x") as file:
            file.write(full)
    except FileExistsError:
        raise ConfigError(
            f"{path} is there already", "nothing is overwritten: another name, or --out"
        ) from None
    return Written(path, campaign, tuple(remarks))


def _period(text: str) -> tuple[str, str]:
    """First and last day, still as they are written."""
    parts = re.split(r"\.\.|/|\s+to\s+", text.strip())
    if len(parts) != 2 or not all(parts):
        raise ConfigError(
            f"--period {text!r} is no period", "give first and last day: 2021-03-01..2021-07-31"
        )
    return parts[0].strip(), parts[1].strip()


def _area(text: str) -> dict[str, Any]:
    """The block `area` of a file, or of four numbers."""
    if re.fullmatch(r"[\s\d.,;+-]+", text) and not Path(text).exists():
        try:
            west, south, east, north = map(float, text.split(","))
        except ValueError:
            raise ConfigError(
                f"--area {text!r} is no box",
                "give four numbers, west,south,east,north: 1.38,43.55,1.504,43.64",
            ) from None
        return {"bbox": [west, south, east, north]}
    file = Path(text)
    if file.suffix.lower() in (".gpkg", ".shp", ".kml", ".zip", ".parquet"):
        raise ConfigError(
            f"--area {text} is no GeoJSON",
            f"make one: ogr2ogr -t_srs EPSG:4326 {file.with_suffix('.geojson')} {text}",
        )
    if file.is_absolute() and file.is_relative_to(Path.cwd()):
        file = file.relative_to(Path.cwd())
    return {"geojson": file.as_posix()}


def _size(campaign: Campaign, polygon: BaseGeometry) -> list[str]:
    """How large a campaign is, by its area and period alone."""
    assert campaign.period is not None  # it was asked for
    square = _square_kilometres(polygon)
    tiles = tiles_of(polygon, campaign.grid.resolution)
    scenes = acquisitions(polygon.centroid.y, campaign.period.start, campaign.period.end)
    listed = ", ".join([*tiles][:6]) + (" ..." if len(tiles) > 6 else "")
    number = sum(scenes.values()) * len(tiles)
    return [
        f"area {square:,.0f} km2, in {len(tiles)} {'tile' if len(tiles) == 1 else 'tiles'} ({listed}); "
        f"about {number:,} acquisitions in {len(scenes)} months, cloudy ones counted"
    ]


def _square_kilometres(polygon: BaseGeometry) -> float:
    return abs(Geod(ellps="WGS84").geometry_area_perimeter(polygon)[0]) / 1e6


def _surprises(campaign: Campaign, polygon: BaseGeometry) -> list[str]:
    """What is allowed and may not be meant."""
    assert campaign.archive is not None  # it was asked for
    out = []
    square = _square_kilometres(polygon)
    if square > LARGE:
        out.append(f"{square:,.0f} km2 are much for a first campaign: try a small box before (docs/scale.md)")
    if square < (10 * campaign.grid.resolution / 1000) ** 2:
        out.append("the area is smaller than ten by ten pixels: grid.resolution may be too coarse for it")
    preset = PRESETS.get(campaign.archive.catalog)
    if preset is not None and preset.keys:
        wanted = ", or ".join(" and ".join(group) for group in preset.keys)
        out.append(f"{campaign.archive.catalog} needs an account: set {wanted} in the environment")
    if campaign.results.exists():
        out.append(f"{campaign.results} is there already: a campaign of this name has been run here")
    return out


def _plots(table: Path) -> tuple[list[str], str]:
    """The variables that a table of plots measures, and what is to be said of it."""
    from canopyflow.evaluation.field_plots import read_plots

    plots = read_plots(table)
    counts = plots["variable"].value_counts()
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    remark = f"plots: {len(plots)} measurements ({told}) at {plots['plot_id'].nunique()} plots"
    return sorted(map(str, counts.index)), remark


def _text(campaign: Campaign, asked: Asked, area: dict[str, Any], outputs: list[str]) -> str:
    assert campaign.archive is not None and campaign.period is not None  # they were asked for
    preset = PRESETS.get(campaign.archive.catalog)
    said = preset.remark if preset else "a catalogue of your own: docs/catalogues.md"
    if campaign.archive.catalog == DEMO:
        said = "The synthetic archive that `canopyflow demo` writes: it lies at 6.5 E, 46.7 N, in 2021"
    (polygon,) = areas_of(campaign.query["area"]).polygons.values()
    bounds = [round(number, 4) for number in bbox_of(polygon)]
    statistics = [*STATISTICS] if asked.plots else [*campaign.inference.statistics]
    return TEXT.format(
        campaign=_flow(campaign.campaign),
        where=f"west {bounds[0]:g}, south {bounds[1]:g}, east {bounds[2]:g}, north {bounds[3]:g}, degrees",
        area=_flow(area),
        start=campaign.period.start,
        end=campaign.period.end,
        catalogue=_sentence(f"{said}. Others: docs/catalogues.md"),
        catalog=_flow(asked.catalog),
        outputs=_flow(outputs),
        statistics=_flow(statistics),
        why="  # the scores on plots need the quartiles" if asked.plots else "",
        evaluation=PLOTS.format(plots=_flow(asked.plots.as_posix())) if asked.plots else "",
    )


def _sentence(text: str) -> str:
    """A comment of more than one line, if it is long."""
    words, lines = text.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 105:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n# ".join(lines)


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()
    return text.removesuffix("...").strip()
