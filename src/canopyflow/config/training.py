"""How models are fitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from canopyflow.config.block import Block, Device, Distinct, Mistake, OneOf, Share, check_options
from canopyflow.registry import OBJECTIVES, PRIORS, SOURCES
from canopyflow.vocabulary import ADAMW, OPTIMIZERS

ObjectiveName = Annotated[str, OneOf(OBJECTIVES.what, OBJECTIVES)]
OptimizerName = Annotated[str, OneOf("optimizer", OPTIMIZERS)]

BOTH, MADE = "both", ("simulations", "patches")
"""A word for two sources at once; and those of pixels that rules of the workflow make."""

DRAWN, OBSERVED = "seasons_drawn", "seasons"
"""Sources of seasons that rules of the workflow make."""

PHYSICS = "physics"
"""A learned prior's name where there is none: the prior of the physics block."""


class Goal(Block):
    """One objective of a cycle."""

    objective: ObjectiveName = Field(description="what is minimised, see docs/objectives.md")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the objective")

    @model_validator(mode="after")
    def _options_belong(self) -> Goal:
        check_options(OBJECTIVES, self.objective, self.options, "options.")
        return self


class Phase(Block):
    """One stretch of training: under one objective, or under several that take turns."""

    objective: ObjectiveName | None = Field(
        None, description="what is minimised, see docs/objectives.md; or use `cycle`"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options of the objective")
    cycle: tuple[Goal, ...] = Field((), description="objectives that take turns, one step each")
    epochs: int = Field(10, ge=1, description="most passes over the data")
    steps: int | None = Field(None, ge=1, description="batches per epoch; null: all of the data")
    learning_rate: float = Field(1e-3, gt=0, description="learning rate of Adam, at the start")
    optimizer: OptimizerName = Field(
        ADAMW, description="what moves the weights: muon the matrices among them, which is faster for seasons"
    )
    data: Annotated[str, OneOf(SOURCES.what, (*MADE, DRAWN, OBSERVED), (BOTH,))] = Field(
        "simulations", description="what is looked at; both: simulations and patches"
    )

    both: ClassVar[tuple[str, ...]] = MADE
    """Sources that `both` stands for."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Phase:
        if (self.objective is None) == (not self.cycle):
            raise ValueError("give either `objective` or `cycle`")
        if self.objective is not None:
            check_options(OBJECTIVES, self.objective, self.options, "options.")
        elif self.options:
            raise Mistake("options", "a cycle has options beside each of its objectives")
        return self

    @model_validator(mode="after")
    def _data_have_what_is_needed(self) -> Phase:
        for source in self.sources:
            given = SOURCES.setting(source, "gives", frozenset())
            for objective in self.objectives:
                lacking = sorted(OBJECTIVES.setting(objective, "needs", frozenset()) - given)
                if lacking:
                    raise Mistake("data", f"{source} lack what {objective} needs: {', '.join(lacking)}")
        return self

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives in their turn."""
        return tuple(name for _, name, _ in self.goals)

    @property
    def goals(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Key of the options, name and options of each objective."""
        if self.objective is not None:
            yield "options", self.objective, self.options
        for number, goal in enumerate(self.cycle):
            yield f"cycle.{number}.options", goal.objective, goal.options

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources of data that the phase looks at."""
        return self.both if self.data == BOTH else (self.data,)


class LearnedSummaries(Block):
    """A network that learns what maps say of the posterior, so that nothing need be drawn for them."""

    epochs: int = Field(12, ge=1, description="most passes over the data")
    steps: int | None = Field(None, ge=1, description="batches per epoch; null: all of the data")
    learning_rate: float = Field(8e-3, gt=0, description="learning rate of Adam, at the start")
    data: Annotated[str, OneOf(SOURCES.what, ("simulations",), (BOTH,))] | None = Field(
        None,
        description="what is looked at; null: patches too where a phase looks at them (and then a new scene "
        "means a new training)",
    )
    draws: int = Field(16, ge=2, description="posterior draws per pixel and step")
    mixed: Share = Field(0.2, description="share of pixels that are mixtures of two, as fields hold")
    foreign: Share = Field(
        0.1, description="share of pixels disturbed until nothing explains them: to know a bad fit"
    )
    width: int = Field(256, ge=8, description="width of the network")
    layers: int = Field(3, ge=1, description="its layers")

    @model_validator(mode="after")
    def _some_pixels_stay(self) -> LearnedSummaries:
        if self.mixed + self.foreign > 1:
            raise Mistake("foreign", "mixed and foreign are shares of the same pixels: at most 1 together")
        return self


def _default_phases() -> tuple[Phase, ...]:
    # Finishing with the bound narrows every posterior (it seeks modes); finishing with the forward
    # divergence does not. docs/how_it_works.md has the figures.
    return (
        Phase(objective="elbo", epochs=1, steps=150, learning_rate=1e-3, data="simulations"),
        Phase(objective="npe", epochs=6, learning_rate=2e-3, data="simulations"),
    )


class Training(Block):
    """How each model is trained."""

    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=1000)], ...], Distinct] = Field(
        (0,), min_length=1, description="each model is trained once per seed; maps use the first"
    )
    phases: tuple[Phase, ...] = Field(
        default_factory=_default_phases, min_length=1, description="run one after another"
    )
    summaries: LearnedSummaries | None = Field(
        default_factory=LearnedSummaries,
        description="how the summaries of maps are learned, after the phases; null: they are drawn",
    )
    learned_prior: Annotated[str, OneOf(PRIORS.what, PRIORS, (PHYSICS,))] = Field(
        PHYSICS, description="prior in objectives that have one: that of physics, or one fitted to the pixels"
    )
    batch_size: int = Field(512, ge=2, description="pixels per step")
    samples: int = Field(4, ge=1, description="draws per pixel and step, for objectives that draw")
    patience: int = Field(5, ge=1, description="epochs without improvement before a phase ends")
    clip_norm: float = Field(5.0, gt=0, description="largest gradient norm")
    threads: int = Field(
        1, ge=1, description="processor threads; sums depend on it, so it is part of the result"
    )
    device: Device = Field("auto", description="auto: GPU when there is one")

    @property
    def summaries_data(self) -> str:
        """What the network of the summaries looks at, if there is one."""
        if self.summaries is not None and self.summaries.data is not None:
            return self.summaries.data
        return BOTH if any("patches" in phase.sources for phase in self.phases) else "simulations"

    @property
    def sources_of_summaries(self) -> tuple[str, ...]:
        """Names of the sources of data that the network of the summaries looks at."""
        if self.summaries is None:
            return ()
        return MADE if self.summaries_data == BOTH else (self.summaries_data,)

    @property
    def sources(self) -> frozenset[str]:
        """Names of all sources of data that training looks at."""
        return frozenset(self.sources_of_summaries).union(*(phase.sources for phase in self.phases))

    @property
    def plan(self) -> dict[str, Any]:
        """All but the seeds as plain values, for the rule that trains."""
        values = self.model_dump(exclude={"seeds"})
        if self.summaries is not None:
            values["summaries"]["data"] = self.summaries_data
        return values

    @model_validator(mode="after")
    def _prior_is_fitted(self) -> Training:
        used = {objective for phase in self.phases for objective in phase.objectives}
        fitting = [name for name in OBJECTIVES if "learned_prior" in OBJECTIVES.setting(name, "trains", ())]
        if self.learned_prior != PHYSICS and not used.intersection(fitting):
            raise Mistake(
                "learned_prior",
                f"{self.learned_prior} is fitted by no phase; add one of {', '.join(fitting)}",
            )
        return self
