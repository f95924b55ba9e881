"""The campaign: all blocks of the file, and what holds between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from canopyflow import registry
from canopyflow.config.archive import Archive
from canopyflow.config.area import Area, Period
from canopyflow.config.block import Checked, Distinct, Mistake, check, option_mistakes
from canopyflow.config.encoder import Encoder
from canopyflow.config.evaluation import Evaluation
from canopyflow.config.grid import Grid
from canopyflow.config.inference import Inference
from canopyflow.config.masking import Masking
from canopyflow.config.model import BASELINES, BaselineName, FamilyName, Model
from canopyflow.config.parcels import Parcels
from canopyflow.config.patches import Patches
from canopyflow.config.physics import Physics
from canopyflow.config.publication import Publication
from canopyflow.config.reference import Reference
from canopyflow.config.seasons import ENCODER, Seasons, is_of_seasons
from canopyflow.config.simulations import Simulations
from canopyflow.config.training import OBSERVED, PHYSICS, Training
from canopyflow.options import table_mistakes

TAKEN = ("parcels", "plots", "spectra")
"""Tables of ``parcels/`` and ``matchups/`` that are no model's."""

LEAST_DATES = 3
"""Dates of a year whose season is mapped: of fewer, start and end are not told from the peak."""


class Campaign(Checked):
    """A campaign: one region, one period, one set of models."""

    campaign: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="name; results go to results/{campaign}"
    )
    seed: int = Field(0, ge=0, description="root of all random numbers")
    area: Area | None = Field(description="where; area, period and archive all null: simulations only")
    period: Period | None = Field(description="when")
    archive: Archive | None = Field(description="which catalogue, and how to read it")
    families: Annotated[tuple[FamilyName, ...], Distinct] = Field(
        ("truncated_normal", "nsf"),
        description="posterior families to train and compare: each is a model of its own name",
    )
    family_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="family: {option: value}, see `canopyflow families`"
    )
    models: dict[str, Model] = Field(
        default_factory=dict,
        description="further models, name: {family, family_options}; one family may be in several; with "
        "dynamics, name: {family, dynamics}, it is a model of seasons; or name: {estimator, options} for a "
        "baseline that is mapped too; or name: {shipped: s2} for a model that is trained already, see "
        "`canopyflow models`",
    )
    baselines: Annotated[tuple[BaselineName, ...], Distinct] | None = Field(
        None,
        description="what all models are compared with, on simulations and field plots, without maps; null: "
        "of a real archive all there are (`gpr` where there are plots), else none",
    )
    grid: Grid = Field(default_factory=Grid, description="grid and bands")
    masking: Masking = Field(default_factory=Masking, description="which pixels are believed")
    patches: Patches = Field(default_factory=Patches, description="patch cubes for training on real pixels")
    physics: Physics = Field(default_factory=Physics, description="decoder, prior and noise")
    simulations: Simulations = Field(default_factory=Simulations, description="simulated spectra")
    encoder: Encoder = Field(default_factory=Encoder, description="the network that reads a pixel")
    training: Training = Field(default_factory=Training, description="how each model is trained")
    seasons: Seasons = Field(default_factory=Seasons, description="seasons, for models that have `dynamics`")
    inference: Inference = Field(default_factory=Inference, description="from scenes to maps")
    evaluation: Evaluation = Field(default_factory=Evaluation, description="what the maps are held against")
    reference: Reference = Field(
        default_factory=Reference, description="the true posterior of some pixels, to hold models against"
    )
    parcels: Parcels = Field(default_factory=Parcels, description="areas whose means are tabulated")
    publication: Publication = Field(default_factory=Publication, description="what is published")
    tracking: Literal["tensorboard", "mlflow"] | None = Field(
        None, description="where curves of training are shown beside the report, see docs/tracking.md"
    )

    @check("families", "models", "baselines")
    def _models_have_names(self) -> Iterator[Mistake]:
        if not self.families and not self.models:
            yield Mistake("families", "name at least one family, or give `models`")
        for name in self.models:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                yield Mistake(f"models.{name}", "use letters, digits, _ and - only")
            if name in self.families:
                yield Mistake(f"models.{name}", "this name is among the families already")
            if name in TAKEN:
                yield Mistake(f"models.{name}", "this name is that of a table beside the models' own")
        for name in self.baselines or ():
            if name in self.families or name in self.models:
                yield Mistake("baselines", f"{name} is a model of this name already")

    @check("models", "grid", "simulations", "physics")
    def _shipped_models_fit(self) -> Iterator[Mistake]:
        """A model that was trained elsewhere sees the bands of the campaign and believes in its physics: else
        it would be held against simulations and a reference of something else."""
        for name, block in self.models.items():
            if block.shipped is None:
                continue
            said, key = block.described, f"models.{name}.shipped"
            if list(self.grid.bands) != said["bands"]:
                wanted = ", ".join(said["bands"])
                yield Mistake(key, f"{block.shipped} does not read grid.bands; set them to [{wanted}]")
            odd = [platform for platform in self.simulations.platforms if platform not in said["platforms"]]
            if odd:
                yield Mistake(key, f"{block.shipped} does not know {odd[0]} of simulations.platforms")
            physics = {"name": self.physics.generative, "options": self.physics.options}
            if physics != said["generative"]:
                yield Mistake(key, f"{block.shipped} was trained under another `physics`; leave its defaults")

    @check("families", "family_options")
    def _family_options_belong(self) -> Iterator[Mistake]:
        for name, options in self.family_options.items():
            if name not in self.families:
                hint = registry.nearest(name, self.families)
                yield Mistake(f"family_options.{name}", f"not among the campaign's families; {hint}")
            else:
                yield from option_mistakes(registry.FAMILIES, name, options, f"family_options.{name}.")

    @check("publication", "inference")
    def _published_is_mapped(self) -> Iterator[Mistake]:
        lacking = [name for name in self.publication.variables if name not in self.inference.outputs]
        if lacking:
            named = f"{', '.join(map(repr, lacking))} {'is' if len(lacking) == 1 else 'are'}"
            mapped = ", ".join(self.inference.outputs)
            yield Mistake("publication.variables", f"{named} not among inference.outputs ({mapped})")

    @check("physics", "inference")
    def _mapped_is_estimated(self) -> Iterator[Mistake]:
        law = self.physics.prior
        for name in self.inference.outputs:
            if name in self.physics.not_estimated:
                yield Mistake("inference.outputs", f"the {law} law has no {name}; leave it out")

    @check("patches", "grid")
    def _blocks_hold_patches(self) -> Iterator[Mistake]:
        # A pixel within one pixel of a block's edge belongs to no split.
        if self.patches.block_metres < 4 * self.grid.resolution:
            yield Mistake(
                "patches.block_metres",
                f"{self.patches.block_metres:g} m leaves no pixel of {self.grid.resolution:g} m "
                f"inside a block; take at least {4 * self.grid.resolution:g}",
            )

    @check("area", "period", "archive", "training", "evaluation")
    def _scenes_or_none(self) -> Iterator[Mistake]:
        absent = [name for name in ("area", "period", "archive") if getattr(self, name) is None]
        if len(absent) in (1, 2):
            yield Mistake(
                absent[0],
                "null: give area, period and archive, or set all three to null for a campaign of simulations",
            )
            return
        if absent and self._looks_at_patches:
            yield Mistake("training.phases", "there are no patches without area, period and archive")
        if absent and (self.evaluation.plots or self.evaluation.truth):
            yield Mistake("evaluation", "plots and truth need maps, hence area, period and archive")
        if absent and self.parcels.path:
            yield Mistake("parcels.path", "parcels need maps, hence area, period and archive")

    @check("encoder", "training")
    def _pixels_are_looked_at(self) -> Iterator[Mistake]:
        if self.encoder.kind == ENCODER:
            yield Mistake(
                "encoder.kind", "models of seasons have it by themselves; its options are in seasons.encoder"
            )
        for number, phase in enumerate(self.training.phases):
            odd = [source for source in phase.sources if is_of_seasons(source)]
            if odd:
                yield Mistake(f"training.phases.{number}.data", f"{odd[0]} belong into seasons.phases")
            for key, objective, options in phase.goals:
                for option in registry.OBJECTIVES.setting(objective, "seasons_only", ()):
                    if options.get(option):
                        yield Mistake(
                            f"training.phases.{number}.{key}.{option}",
                            "seasons have it, whose phases are seasons.phases; leave it out",
                        )

    @check("models", "seasons", "area", "period", "archive")
    def _seasons_lie_in_the_period(self) -> Iterator[Mistake]:
        if not self.of_seasons:
            return
        if not self.has_scenes and OBSERVED in self.seasons.sources:
            yield Mistake("seasons.phases", "there are no seasons to cut without area, period and archive")
        if self.period is not None and not self.season_windows:
            first, last = self.seasons.months
            yield Mistake(
                "seasons.months",
                f"no year has {LEAST_DATES} dates that are mapped in months {first} to {last} of period; "
                "take more of them, or fewer days between the dates",
            )

    @check("models", "physics")
    def _dynamics_know_the_state(self) -> Iterator[Mistake]:
        for model in self.of_seasons:
            block = self.models[model]
            tables = registry.SEASON_PRIORS.setting(str(block.dynamics), "TABLES", {})
            for option in tables.keys() & block.dynamics_options.keys():
                given, key = block.dynamics_options[option], f"models.{model}.dynamics_options.{option}"
                for name, text in table_mistakes(tables[option], given, self.physics.state):
                    yield Mistake(f"{key}.{name}", text)

    @check("models", "seasons")
    def _seasons_can_be_learned(self) -> Iterator[Mistake]:
        for number, phase in enumerate(self.seasons.phases if self.of_seasons else ()):
            for objective in phase.objectives:
                key = f"seasons.phases.{number}"
                if not registry.OBJECTIVES.setting(objective, "of_seasons", True):
                    yield Mistake(key, f"{objective} looks at single dates alone; take npe or elbo")
                if not registry.OBJECTIVES.setting(objective, "weighs", True):
                    continue
                for kind in sorted({str(self.models[name].dynamics) for name in self.of_seasons}):
                    if not registry.SEASON_PRIORS.setting(kind, "has_density", False):
                        yield Mistake(
                            key,
                            f"{objective} weighs trajectories by their prior's density, and {kind} has none; "
                            "take npe, or the dynamics season_gp",
                        )

    @check("models", "evaluation")
    def _seasons_have_no_footprints(self) -> Iterator[Mistake]:
        if self.of_seasons and self.evaluation.plots and self.evaluation.footprint is not None:
            name = self.of_seasons[0]
            yield Mistake(
                "evaluation.footprint", f"the maps of {name}, a model of seasons, have none; leave it null"
            )

    @check("evaluation", "baselines", "models")
    def _labels_are_there(self) -> Iterator[Mistake]:
        if self.evaluation.plots is None:
            asked = [("baselines", name, Model(estimator=name)) for name in self.baselines or ()]
            asked += [(f"models.{name}", block.estimator, block) for name, block in self.models.items()]
            for key, name, block in asked:
                if block.needs_labels:
                    yield Mistake(key, f"{name} is fitted to field plots; give evaluation.plots")

    def __copy__(self) -> Self:
        """With other values, what was derived from the former ones is derived anew."""
        copied = super().__copy__()
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    @property
    def results(self) -> Path:
        """Folder of everything this campaign makes, relative to the working directory."""
        return Path("results") / self.campaign

    @property
    def has_scenes(self) -> bool:
        """Whether there is an archive; without one a campaign compares models on simulations."""
        return self.archive is not None

    @property
    def uses_demo(self) -> bool:
        return self.archive is not None and self.archive.catalog == "demo"

    @property
    def query(self) -> dict[str, Any]:
        """What the catalogue is asked, as :func:`canopyflow.archive.search.pin` takes it; {} without one."""
        if self.area is None or self.period is None or self.archive is None:
            return {}
        return {
            "collection": self.archive.searched,
            "area": self.area.asked,
            "start": str(self.period.start),
            "end": str(self.period.end),
            "max_cloud_cover": self.archive.max_cloud_cover,
            "bands": list(self.grid.bands),
            "resolution": self.grid.resolution,
            "lock": self.archive.lock,
        }

    @property
    def wants_patches(self) -> bool:
        """Whether patches are cut: a phase of training looks at them, or the reference samples some."""
        return self._looks_at_patches or (self.has_scenes and self.reference.observed > 0)

    @property
    def _looks_at_patches(self) -> bool:
        return "patches" in self.training.sources

    @cached_property
    def model_blocks(self) -> dict[str, Model]:
        """All models by name, in order: one per family, those of ``models``, and the baselines."""
        return self.mapped | {name: Model(estimator=name) for name in self._compared}

    @cached_property
    def mapped(self) -> dict[str, Model]:
        """The models of which maps are made: all but the baselines."""
        options = self.family_options
        shorthand = {name: Model(family=name, family_options=options.get(name, {})) for name in self.families}
        return shorthand | self.models

    @cached_property
    def of_seasons(self) -> tuple[str, ...]:
        """Names of the models of whole seasons."""
        return tuple(name for name, block in self.models.items() if block.of_seasons)

    @cached_property
    def season_windows(self) -> dict[str, tuple[date, date]]:
        """By year, the first and the last day of its season within the period; years with too few dates that
        are mapped are left out."""
        parts = self._season_parts.items()
        return {year: days for year, days in parts if self._mapped(*days) >= LEAST_DATES}

    @cached_property
    def _season_parts(self) -> dict[str, tuple[date, date]]:
        """By year, the first and the last day of its season that are within the period, if any is."""
        if self.period is None:
            return {}
        found = {}
        for year in range(self.period.start.year, self.period.end.year + 1):
            first, last = self.seasons.dates_of(year)
            start, end = max(self.period.start, first), min(self.period.end, last)
            if start <= end:
                found[str(year)] = (start, end)
        return found

    def _mapped(self, start: date, end: date) -> int:
        """Number of dates that are mapped between two days of a year, both included."""
        first, last = ((day - date(day.year, 1, 1)).days for day in (start, end))
        return last // self.seasons.every_days - (first - 1) // self.seasons.every_days

    @property
    def notes(self) -> tuple[str, ...]:
        """What is no mistake, and perhaps not what was meant."""
        found = []
        for year, (start, end) in self._season_parts.items() if self.of_seasons else ():
            count = self._mapped(start, end)
            if count < LEAST_DATES:
                found.append(
                    f"no season is mapped of {year}: {count} of its dates are within period and "
                    f"seasons.months, and {LEAST_DATES} are wanted"
                )
            elif (start, end) != self.seasons.dates_of(int(year)):
                found.append(
                    f"the season of {year} is cut by period: its maps tell start, peak, end and sums of "
                    f"{start} to {end} alone"
                )
        return tuple(found)

    @property
    def season_plan(self) -> dict[str, Any]:
        """How models of seasons are trained, as plain values: as all others where ``seasons`` is silent."""
        return {
            **self.training.plan,
            **self.seasons.plan,
            "learned_prior": PHYSICS,
        }

    @property
    def season_cut(self) -> dict[str, Any]:
        """What seasons are cut from the scenes, for :class:`canopyflow.cubes.seasons.SeasonRule`."""
        how, patches = self.seasons, self.patches
        return {
            **patches.model_dump(include={"block_metres", "fractions"}),
            "months": how.months,
            "min_dates": how.min_dates,
            "max_seasons": how.max_observed,
        }

    def dynamics(self, model: str) -> dict[str, Any]:
        """Name and options of the dynamics of a model of seasons."""
        block = self.model_blocks[model]
        return {"name": block.dynamics, "options": block.dynamics_options}

    @cached_property
    def from_spectra(self) -> tuple[str, ...]:
        """The models that field plots are compared with by the spectra of their pixels and not by maps: those
        without maps, and those that a plot may only be predicted by where they have not seen its site."""
        if self.evaluation.plots is None:
            return ()
        mapped = self.mapped
        return tuple(n for n, block in self.model_blocks.items() if n not in mapped or block.needs_labels)

    @cached_property
    def _compared(self) -> tuple[str, ...]:
        """Names of the baselines."""
        if self.baselines is not None:
            return self.baselines
        if not self.has_scenes or self.uses_demo:
            return ()
        taken = self.mapped
        found = [name for name in BASELINES if name not in taken]
        plots = self.evaluation.plots is not None
        return tuple(name for name in found if plots or not Model(estimator=name).needs_labels)

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """Names of the models that the campaign trains; the others come with the package."""
        return tuple(name for name in self.model_blocks if name not in self.taken)

    @cached_property
    def taken(self) -> dict[str, str]:
        """Models that come with the package, each with its name there."""
        blocks = self.model_blocks
        return {name: block.shipped for name, block in blocks.items() if block.shipped is not None}

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """Seeds of the model ``name``; one that comes with the package was trained once."""
        seeds = self.training.seeds
        return seeds if name in self.trained else seeds[:1]

    def scored(self, name: str) -> int:
        """Held-back spectra that the model ``name`` is scored on: simulations, or all dates of all held-back
        seasons."""
        if name in self.of_seasons:
            return self.seasons.test * self.seasons.dates
        return self.simulations.test

    def mapping(self, name: str) -> dict[str, Any]:
        """Settings of the maps of a model, for :class:`canopyflow.inference.blocks.MapOptions`: seasons are
        not refined."""
        unread = {"workers", *(("refine", "proposals", "least_ess") if name in self.of_seasons else ())}
        return self.inference.model_dump(exclude=unread)

    def modules(self, name: str, stage: Literal["training", "inference"] | None = None) -> tuple[str, ...]:
        """Dotted modules that a registry loads by name for the model ``name``, for all stages or for one.

        Whatever loads the model needs its family, encoder, generative model and learned prior; of a baseline
        its own file and the generative model. Training adds objectives and sources of data, inference the
        estimators.
        """
        model, prior, refine = self.model_blocks[name], self.training.learned_prior, self.inference.refine
        generative = registry.GENERATIVE.module(self.physics.generative)
        if model.is_baseline:
            found = [registry.ESTIMATORS.module(model.estimator), generative]
            if stage != "inference" and not model.needs_labels:
                found.append(registry.SOURCES.module("simulations"))
            return tuple(found)
        said, encoder = model.described, ENCODER if model.of_seasons else self.encoder.kind
        if said:
            encoder, prior = said["encoder"]["name"], said["learned_prior"]
        found = [registry.FAMILIES.module(model.kind), registry.ENCODERS.module(encoder), generative]
        learns = self.seasons if model.of_seasons else self.training
        if model.dynamics is not None:
            found.append(registry.SEASON_PRIORS.module(model.dynamics))
        elif prior != PHYSICS:
            found.append(registry.PRIORS.module(prior))
        if stage != "inference" and not said:
            for phase in learns.phases:
                found += map(registry.OBJECTIVES.module, phase.objectives)
            found += map(registry.SOURCES.module, sorted(learns.sources))
            if learns.summaries is not None:
                found.append(registry.OBJECTIVES.module("summaries"))
        if stage != "training":
            found.append(registry.ESTIMATORS.module("amortised"))
            if refine != "none" and not model.of_seasons:
                found += [registry.ESTIMATORS.module("refined"), registry.SAMPLERS.module(refine)]
        return tuple(dict.fromkeys(found))
