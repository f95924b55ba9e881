"""Seasons: one posterior of a pixel's whole trajectory, for models that have dynamics."""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from canopyflow.config.block import Block, Mistake, OneOf, Share, check_options
from canopyflow.config.training import BOTH, DRAWN, OBSERVED, OptimizerName, Phase
from canopyflow.registry import ENCODERS, SOURCES
from canopyflow.vocabulary import MUON

ENCODER = "season"
"""The encoder of every model that has dynamics."""


def is_of_seasons(source: str) -> bool:
    """Whether a source of training data holds seasons and not pixels."""
    return str(SOURCES.setting(source, "view", "")).endswith("SEASON")


class LearnedSeasonSummaries(Block):
    """A network that learns what maps of seasons say of the posterior, so that nothing need be drawn."""

    epochs: int = Field(3, ge=1, description="most passes over the data")
    steps: int | None = Field(None, ge=1, description="batches per epoch; null: all of the data")
    learning_rate: float = Field(2e-3, gt=0, description="learning rate of Adam, at the start")
    optimizer: OptimizerName = Field(MUON, description="what moves the weights")
    data: Annotated[str, OneOf(SOURCES.what, (DRAWN, OBSERVED), (BOTH,))] | None = Field(
        None,
        description="what is looked at; both: seasons_drawn and seasons; null: real ones too where a phase "
        "looks at them (and then a new scene means a new training)",
    )
    draws: int = Field(4, ge=2, description="posterior draws per season and step")
    foreign: Share = Field(
        0.1, description="share of seasons disturbed until nothing explains them: to know a bad fit"
    )
    width: int = Field(192, ge=8, description="width of the network behind its filter")
    layers: int = Field(2, ge=1, description="its layers")
    state: int = Field(96, ge=8, description="numbers that the filter carries from date to date")


class SeasonPhase(Phase):
    """A stretch of training on seasons."""

    optimizer: OptimizerName = Field(
        MUON, description="what moves the weights; muon is ahead of adamw after half the epochs"
    )
    data: Annotated[str, OneOf(SOURCES.what, (DRAWN, OBSERVED), (BOTH,))] = Field(
        DRAWN, description="what is looked at; both: seasons_drawn and seasons"
    )

    both: ClassVar[tuple[str, ...]] = (DRAWN, OBSERVED)


def _default_phases() -> tuple[SeasonPhase, ...]:
    return (SeasonPhase(objective="npe", options={"alone": 4}, epochs=8, learning_rate=2e-3),)


class Seasons(Block):
    """Which part of a year is a season, which dates are mapped, and what models of seasons learn from."""

    months: tuple[int, int] = Field((1, 12), description="first and last month of a season, of one year")
    every_days: int = Field(
        5, ge=1, le=92, description="days between the dates that are mapped, counted from 1 January"
    )
    train: int = Field(30_000, ge=100, description="seasons drawn to train on; noise is drawn anew")
    validation: int = Field(1_000, ge=50, description="drawn seasons that decide when to stop")
    test: int = Field(500, ge=50, description="held-back drawn seasons that calibration is measured on")
    dates: int = Field(24, ge=2, description="passes of a drawn season, before clouds")
    max_observed: int = Field(
        4096, ge=1, description="seasons cut from the scenes per split, where a phase looks at them"
    )
    min_dates: int = Field(4, ge=1, description="least number of clear passes of such a season")
    encoder: dict[str, Any] = Field(
        default_factory=dict, description="options of the encoder `season`, {option: value}"
    )
    phases: tuple[SeasonPhase, ...] = Field(
        default_factory=_default_phases, min_length=1, description="as `training.phases`, on seasons"
    )
    summaries: LearnedSeasonSummaries | None = Field(
        default_factory=LearnedSeasonSummaries,
        description="as `training.summaries`, of every date and of the season as a whole; null: they are "
        "drawn",
    )
    batch_size: int = Field(64, ge=2, description="seasons per step")

    @field_validator("months")
    @classmethod
    def _of_one_year(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1] <= 12:
            raise ValueError(f"{list(value)} are no months of one year: 1 <= first <= last <= 12")
        return value

    @model_validator(mode="after")
    def _encoder_can_be_built(self) -> Seasons:
        check_options(ENCODERS, ENCODER, self.encoder, "encoder.")
        width, heads = (self.encoder_options[name] for name in ("width", "heads"))
        if width % heads:
            if "width" in self.encoder:
                raise Mistake("encoder.width", f"{width} is no multiple of the {heads} heads")
            raise Mistake("encoder.heads", f"width {width} is no multiple of {heads} heads")
        return self

    @property
    def sources_of_summaries(self) -> tuple[str, ...]:
        """Names of the sources of data that the network of the summaries looks at."""
        if self.summaries is None:
            return ()
        asked = self.summaries.data
        if asked is None:
            looked_at = any(OBSERVED in phase.sources for phase in self.phases)
            return (DRAWN, OBSERVED) if looked_at else (DRAWN,)
        return (DRAWN, OBSERVED) if asked == BOTH else (asked,)

    @property
    def sources(self) -> frozenset[str]:
        """Names of the sources of data that training looks at."""
        return frozenset(self.sources_of_summaries).union(*(phase.sources for phase in self.phases))

    @property
    def plan(self) -> dict[str, Any]:
        """What is said of training, as plain values, for the rule that trains."""
        values = self.model_dump(include={"phases", "batch_size", "summaries"})
        values["phases"] = [{**phase.model_dump(), "data": "+".join(phase.sources)} for phase in self.phases]
        if self.summaries is not None:
            # No two seasons have the same days, and none are mixed.
            values["summaries"] |= {"data": "+".join(self.sources_of_summaries), "mixed": 0.0}
        return values

    @property
    def encoder_options(self) -> dict[str, Any]:
        """All options of the encoder, given or not, with its kind: they are part of what is run."""
        return {"kind": ENCODER, **ENCODERS.options(ENCODER), **self.encoder}

    @property
    def days(self) -> tuple[int, int]:
        """First and last day of a season since 1 January, of a year that is no leap year."""
        first, last = (date(2021, month, 1) - date(2021, 1, 1) for month in self.months)
        return first.days, last.days + monthrange(2021, self.months[1])[1] - 1

    def dates_of(self, year: int) -> tuple[date, date]:
        """First and last day of a season of ``year``."""
        first, last = self.months
        return date(year, first, 1), date(year, last, monthrange(year, last)[1])

    def window(self, year: int) -> tuple[str, str]:
        """First month of a season of ``year`` and the last one, YYYY-MM."""
        return f"{year:04d}-{self.months[0]:02d}", f"{year:04d}-{self.months[1]:02d}"
