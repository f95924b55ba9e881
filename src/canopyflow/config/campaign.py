"""The campaign file as a pydantic model: the one source of defaults, JSON schema, comments and docs.

``config/config.yaml``, ``workflow/schemas/campaign.schema.json`` and the table in
``docs/configuration.md`` are rendered from these classes (see :mod:`canopyflow.config.files`).
The library never imports this module: rules pass plain values down.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from canopyflow.errors import ConfigError
from canopyflow.registry import FAMILIES

BandName = Literal["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
OutputName = Literal[
    "lai", "cab", "car", "cbrown", "cw", "cm", "N", "lidfa", "hspot", "psoil", "rsoil", "ccc", "cwc"
]
Device = Literal["auto", "cpu", "cuda"]
BoundingBox = tuple[float, float, float, float]
Share = Annotated[float, Field(ge=0, le=1)]

FIRST_ACQUISITION = date(2015, 6, 27)
"""Sentinel-2A was launched on 2015-06-23 and took its first image four days later."""


class Block(BaseModel):
    """A part of the campaign file: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice:
        raise ValueError(f"{twice[0]!r} is named twice")
    return values


Distinct = AfterValidator(_distinct)


def _check_box(box: BoundingBox) -> BoundingBox:
    west, south, east, north = box
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise ValueError(
            f"[{west}, {south}, {east}, {north}] is no area: "
            "give [west, south, east, north] in degrees, west < east and south < north"
        )
    return box


class Area(Block):
    """Where: one box, or several named sites."""

    bbox: BoundingBox | None = Field(
        None, description="[west, south, east, north] in degrees (WGS 84); or use `sites`"
    )
    sites: dict[str, BoundingBox] = Field(
        default_factory=dict,
        description="name: [west, south, east, north]; for plots far apart, each site gets its own grids",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Area:
        if (self.bbox is None) == (not self.sites):
            raise ValueError("give either `bbox` or `sites`")
        for name, box in self.boxes.items():
            if name and not re.fullmatch(r"[A-Za-z0-9_]+", name):
                raise ValueError(f"site name {name!r}: use letters, digits and _ only")
            _check_box(box)
        return self

    @property
    def boxes(self) -> dict[str, BoundingBox]:
        """Boxes by site name; a single unnamed area has the empty name."""
        return dict(self.sites) if self.bbox is None else {"": self.bbox}


class Period(Block):
    """When."""

    start: date = Field(description="first day, YYYY-MM-DD")
    end: date = Field(description="last day, included")

    @model_validator(mode="after")
    def _in_order(self) -> Period:
        if self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        if self.end < FIRST_ACQUISITION:
            raise ValueError(f"end {self.end} is before Sentinel-2's first image ({FIRST_ACQUISITION})")
        return self


class Archive(Block):
    """Which catalogue, and how to read it."""

    catalog: str = Field(
        description="`demo` (the synthetic archive), the URL of a STAC API, or the path of a static "
        "catalog.json; ${NAME} is read from the environment"
    )
    collection: str = Field("sentinel-2-l2a", description="collection to search")
    pin: str = Field(
        "1",
        description="the search is made once and kept; change this label to search a remote archive again "
        "(local archives are searched again when their catalogue changes)",
    )
    max_cloud_cover: float = Field(90, ge=0, le=100, description="skip items cloudier than this, percent")
    reader: Literal["stackstac", "odc"] = Field("stackstac", description="library that reads the pixels")
    view_zenith_if_unknown: float = Field(
        5.0, ge=0, lt=15, description="assumed view zenith, degrees, when neither metadata nor item give it"
    )

    @field_validator("catalog")
    @classmethod
    def _from_environment(cls, value: str) -> str:
        for name in re.findall(r"\$\{(\w+)\}", value):
            if not os.environ.get(name):
                raise ValueError(
                    f"the environment variable {name} is not set; set it to the catalogue's folder"
                )
        return os.path.expandvars(value)


class Grid(Block):
    """The grid and the bands of the campaign."""

    resolution: float = Field(20, ge=10, le=1000, multiple_of=1, description="pixel size, whole metres")
    bands: Annotated[tuple[BandName, ...], Distinct] = Field(
        get_args(BandName), min_length=3, description="bands used, from B02 to B12"
    )


class Masking(Block):
    """Which pixels are believed."""

    valid_scl: Annotated[tuple[Annotated[int, Field(ge=0, le=11)], ...], Distinct] = Field(
        (4, 5), min_length=1, description="scene classes kept: 4 vegetation, 5 bare soil"
    )
    dilate_pixels: int = Field(1, ge=0, description="grow clouds and shadows by this many pixels")
    spectral_test: bool = Field(True, description="also drop pixels too bright in the blue to be land")


class Patches(Block):
    """Patch cubes for training on real pixels."""

    size: int = Field(16, ge=1, description="patch side, pixels")
    block_metres: float = Field(480, gt=0, description="side of the spatial blocks that splits are made of")
    fractions: tuple[Share, Share, Share] = Field(
        (0.7, 0.15, 0.15), description="share of blocks for train, validation, test"
    )
    max_patches: int = Field(4096, ge=1, description="at most this many patches a split")
    min_valid: Share = Field(0.25, description="least share of clear pixels in a patch")

    @field_validator("fractions")
    @classmethod
    def _sum_to_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1) > 1e-9:
            raise ValueError(f"the three shares add up to {sum(value):g}, not 1")
        return value


class Noise(Block):
    """Observation noise; the common terms shift all bands of a pixel together (S2 toolbox ATBD)."""

    additive_independent: float = Field(0.01, gt=0, description="standard deviation, reflectance, per band")
    additive_common: float = Field(0.01, ge=0, description="the same, common to all bands")
    multiplicative_independent: float = Field(0.02, ge=0, description="relative, per band")
    multiplicative_common: float = Field(0.02, ge=0, description="relative, common to all bands")


class Physics(Block):
    """The decoder and what is known before the satellite looks."""

    leaf: Literal["prospect-d", "prospect-5b"] = Field("prospect-d", description="leaf model")
    prior: Literal["atbd", "prosail-vae", "uniform"] = Field("atbd", description="law of the variables")
    noise: Noise = Field(default_factory=Noise, description="observation noise")


class Simulations(Block):
    """Simulated spectra, for training and for calibration."""

    train: int = Field(200_000, ge=1000, description="spectra to train on; noise is drawn anew each epoch")
    validation: int = Field(6_000, ge=100, description="spectra that decide when to stop")
    test: int = Field(3_000, ge=100, description="held-back spectra that calibration is measured on")
    platforms: Annotated[tuple[Literal["S2A", "S2B", "S2C"], ...], Distinct] = Field(
        ("S2A", "S2B", "S2C"),
        min_length=1,
        description="satellites simulated; a scene of another one stops inference",
    )
    sun_zenith: tuple[float, float] = Field((20, 65), description="range, degrees")
    view_zenith: tuple[float, float] = Field((0, 12), description="range, degrees")

    @field_validator("sun_zenith", "view_zenith")
    @classmethod
    def _a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] <= value[1] < 85:
            raise ValueError(f"{list(value)} is no range of zenith angles: 0 <= low <= high < 85")
        return value


class Encoder(Block):
    """The network that reads a pixel."""

    kind: Literal["pixel"] = Field("pixel", description="what one look covers")
    width: int = Field(128, ge=4, description="features")
    blocks: int = Field(3, ge=0, description="residual blocks")


OBJECTIVE_OPTIONS = {"beta_elbo": ("beta", "anneal_steps", "free_bits"), "predictive_nll": ("draws", "beta")}
"""Objectives that have options; said here too, so that a campaign is checked without loading torch."""
LEARNED_PRIOR_FAMILIES = {"mixture": "mixture", "flow": "nsf"}
"""Posterior families that learned priors are made of: their code is part of what a model depends on."""


class Phase(Block):
    """One stretch of training under one objective."""

    objective: Literal["elbo", "beta_elbo", "iwae", "npe", "predictive_nll"] = Field(
        "elbo",
        description="`elbo` evidence lower bound, `beta_elbo` with a weighted divergence, "
        "`iwae` importance-weighted, `npe` forward divergence on simulations, "
        "`predictive_nll` the published PROSAIL-VAE loss",
    )
    epochs: int = Field(10, ge=1, description="most passes over the data")
    steps: int | None = Field(None, ge=1, description="batches an epoch; null: all of the data")
    learning_rate: float = Field(1e-3, gt=0, description="of Adam, at the start")
    data: Literal["simulations", "patches", "both"] = Field("simulations", description="what is looked at")
    options: dict[str, Annotated[int | float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="of the objective; beta_elbo: beta, anneal_steps, free_bits; predictive_nll: draws, beta",
    )

    @model_validator(mode="after")
    def _options_belong(self) -> Phase:
        known = OBJECTIVE_OPTIONS.get(self.objective, ())
        for name in self.options:
            if name not in known:
                raise ValueError(
                    f"objective {self.objective} has no option {name!r}{_nearest(name, list(known))}"
                )
        return self

    @model_validator(mode="after")
    def _npe_needs_simulations(self) -> Phase:
        if self.objective == "npe" and self.data != "simulations":
            raise ValueError("objective npe needs known variables: set data to simulations")
        return self


class Training(Block):
    """How each family is trained."""

    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=1000)], ...], Distinct] = Field(
        (0,), min_length=1, description="one model each; maps use the first"
    )
    phases: tuple[Phase, ...] = Field(
        (
            # Finishing with the bound narrows every posterior (it seeks modes); finishing with the forward
            # divergence does not. docs/how_it_works.md has the figures.
            Phase(objective="elbo", epochs=1, steps=150, learning_rate=1e-3, data="simulations"),
            Phase(objective="npe", epochs=6, learning_rate=2e-3, data="simulations"),
        ),
        min_length=1,
        description="run one after another",
    )
    learned_prior: Literal["physics", "mixture", "flow", "vamp"] = Field(
        "physics",
        description="prior in elbo, beta_elbo and iwae: that of physics, or one fitted to the pixels",
    )
    batch_size: int = Field(512, ge=2, description="pixels a step")
    samples: int = Field(4, ge=1, description="draws a pixel for elbo and iwae")
    patience: int = Field(5, ge=1, description="epochs without improvement before a phase ends")
    clip_norm: float = Field(5.0, gt=0, description="largest gradient norm")
    threads: int = Field(
        1, ge=1, description="processor threads; sums depend on it, so it is part of the result"
    )
    device: Device = Field("auto", description="auto: GPU when there is one")

    @model_validator(mode="after")
    def _prior_is_fitted(self) -> Training:
        if self.learned_prior != "physics" and not any(
            "elbo" in p.objective or p.objective == "iwae" for p in self.phases
        ):
            raise ValueError(
                f"learned_prior {self.learned_prior} needs a phase of elbo, beta_elbo or iwae to fit it"
            )
        return self


class Inference(Block):
    """From scenes to maps."""

    samples: int = Field(100, ge=20, description="draws a pixel")
    outputs: Annotated[tuple[OutputName, ...], Distinct] = Field(
        ("lai", "cab", "car", "cw", "cm", "N", "lidfa", "ccc", "cwc"),
        min_length=1,
        description="variables mapped; ccc = LAI x chlorophyll, cwc = LAI x water, from joint draws",
    )
    workers: int = Field(1, ge=1, description="Dask workers a job")
    batch_pixels: int = Field(512, ge=1, description="pixels a batch; small batches stay in the cache")
    refine: Literal["none", "importance"] = Field(
        "none", description="`importance`: draws are weighted by the physics and resampled; slower, exact"
    )
    proposals: int = Field(2000, ge=100, description="draws a pixel that are weighted to refine")
    least_ess: float = Field(
        100, ge=1, description="pixels with fewer effective draws are flagged `unrefined`"
    )
    device: Device = Field("auto", description="auto: GPU when there is one")


class Evaluation(Block):
    """Against what the maps are held."""

    plots: str | None = Field(
        None, description="table of field plots (CSV or GeoJSON), ${NAME} from the environment; null: none"
    )
    max_days: float = Field(3, ge=0, description="most days between a plot visit and the acquisition")
    truth: str | None = Field(None, description="folder of reference maps (the demo has one); null: none")
    samples: int = Field(500, ge=50, description="draws a held-back simulation")

    @field_validator("plots", "truth")
    @classmethod
    def _from_environment(cls, value: str | None) -> str | None:
        return None if value is None else Archive._from_environment(value)


class Reference(Block):
    """The true posterior of some pixels, by long Markov chains: what every family is held against."""

    simulated: int = Field(32, ge=1, description="held-back simulations sampled")
    observed: int = Field(8, ge=0, description="clear pixels of the test patches sampled; 0: none")
    draws: int = Field(1000, ge=100, description="draws kept a pixel")
    rounds: int = Field(3, ge=1, description="pixels whose chains mix badly run up to this many times on")


class Publication(Block):
    """What leaves the house."""

    variables: Annotated[tuple[OutputName, ...], Distinct] = Field(
        ("lai", "ccc"), min_length=1, description="variables published as COGs"
    )


class Campaign(Block):
    """A campaign: one region, one period, one set of families."""

    campaign: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="name; results go to results/{campaign}"
    )
    seed: int = Field(0, ge=0, description="root of all random numbers")
    area: Area | None = Field(description="where; area, period and archive all null: simulations only")
    period: Period | None = Field(description="when")
    archive: Archive | None = Field(description="which catalogue, and how to read it")
    families: Annotated[tuple[str, ...], Distinct] = Field(
        ("truncated_normal", "nsf"), min_length=1, description="posterior families to train and compare"
    )
    family_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="family: {option: value}, see `canopyflow families`"
    )
    grid: Grid = Field(default_factory=Grid, description="grid and bands")
    masking: Masking = Field(default_factory=Masking, description="which pixels are believed")
    patches: Patches = Field(default_factory=Patches, description="patch cubes for training on real pixels")
    physics: Physics = Field(default_factory=Physics, description="decoder, prior and noise")
    simulations: Simulations = Field(default_factory=Simulations, description="simulated spectra")
    encoder: Encoder = Field(default_factory=Encoder, description="the network that reads a pixel")
    training: Training = Field(default_factory=Training, description="how each family is trained")
    inference: Inference = Field(default_factory=Inference, description="from scenes to maps")
    evaluation: Evaluation = Field(default_factory=Evaluation, description="what the maps are held against")
    reference: Reference = Field(
        default_factory=Reference, description="the true posterior of some pixels, to hold families against"
    )
    publication: Publication = Field(default_factory=Publication, description="what is published")

    @field_validator("families")
    @classmethod
    def _known_families(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in FAMILIES:
                raise ValueError(f"unknown family {name!r}{_nearest(name, list(FAMILIES))}")
        return names

    @model_validator(mode="after")
    def _options_belong(self) -> Campaign:
        for name in self.family_options:
            if name not in self.families:
                raise ValueError(
                    f"family_options.{name}: not among the campaign's families"
                    f"{_nearest(name, list(self.families))}"
                )
        return self

    @model_validator(mode="after")
    def _options_exist(self) -> Campaign:
        for name, options in self.family_options.items():
            try:
                FAMILIES.check(name, options)
            except ConfigError as error:
                raise ValueError(f"family_options.{name}: {error}") from None
        return self

    @model_validator(mode="after")
    def _published_is_mapped(self) -> Campaign:
        for name in self.publication.variables:
            if name not in self.inference.outputs:
                raise ValueError(
                    f"publication.variables: {name!r} is not among inference.outputs "
                    f"({', '.join(self.inference.outputs)})"
                )
        return self

    @model_validator(mode="after")
    def _blocks_hold_patches(self) -> Campaign:
        # A pixel within one pixel of a block's edge belongs to no split.
        if self.patches.block_metres < 4 * self.grid.resolution:
            raise ValueError(
                f"patches.block_metres: {self.patches.block_metres:g} m leaves no pixel of "
                f"{self.grid.resolution:g} m inside a block; take at least {4 * self.grid.resolution:g}"
            )
        return self

    @model_validator(mode="after")
    def _scenes_or_none(self) -> Campaign:
        absent = [name for name in ("area", "period", "archive") if getattr(self, name) is None]
        if len(absent) in (1, 2):
            raise ValueError(
                f"{absent[0]} is null: give area, period and archive, or set all three to null "
                "for a campaign of simulations"
            )
        if absent and any(phase.data != "simulations" for phase in self.training.phases):
            raise ValueError("training.phases: there are no patches without area, period and archive")
        if absent and (self.evaluation.plots or self.evaluation.truth):
            raise ValueError("evaluation: plots and truth need maps, hence area, period and archive")
        return self

    @property
    def results(self) -> Path:
        """Folder of everything this campaign makes, relative to the working directory."""
        return Path("results") / self.campaign

    @property
    def has_scenes(self) -> bool:
        """Whether there is an archive; without one a campaign compares families on simulations."""
        return self.archive is not None

    @property
    def uses_demo(self) -> bool:
        return self.archive is not None and self.archive.catalog == "demo"


def read_campaign(path: Path) -> Campaign:
    """The campaign in a YAML file; ConfigError if the file is not there, is no YAML or is no campaign."""
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"campaign file {path}: {error.strerror}", "name a file that is there") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"campaign file {path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"campaign file {path} holds no keys", "see config/README.md for a start")
    return load_campaign(values)


def load_campaign(values: Mapping[str, Any]) -> Campaign:
    """The campaign of a parsed YAML mapping.

    Raises ConfigError with one line per mistake, each opening with the path of the key.
    """
    try:
        return Campaign.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(e["loc"], e["type"], e["msg"], e.get("input")) for e in error.errors()]
        raise ConfigError("; ".join(dict.fromkeys(lines))) from None


def _explain(location: tuple[int | str, ...], kind: str, message: str, value: Any) -> str:
    path = ".".join(str(part) for part in location) or "campaign file"
    if kind == "extra_forbidden":
        return f"{path}: unknown key{_nearest(str(location[-1]), _keys_beside(location))}"
    if kind == "missing":
        return f"{path}: this key is required and missing"
    text = message.removeprefix("Value error, ")
    if kind == "literal_error":
        text += _nearest(str(value), re.findall(r"'([^']+)'", message))
    shown = "" if kind == "value_error" else f" (got {value!r})"
    return f"{path}: {text[0].lower() + text[1:]}{shown}"


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """Valid keys of the block that ``location`` points into."""
    block: Any = Campaign
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = block.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        block = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if block is None:
            return []
    return list(block.model_fields)


def _nearest(name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.4)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(sorted(valid))}" if valid else ""
