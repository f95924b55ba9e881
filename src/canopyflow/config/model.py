"""What is trained and compared."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from canopyflow.config.block import Block, Mistake, OneOf, check_options
from canopyflow.registry import ESTIMATORS, FAMILIES, SEASON_PRIORS
from canopyflow.shipped import SHIPPED, description

FamilyName = Annotated[str, OneOf(FAMILIES.what, FAMILIES)]

AMORTISED = "amortised"
"""The estimator that a posterior family is part of."""

NEEDS = "needs"
"""What a baseline says it is fitted to; estimators that say nothing are no models of their own."""


class _Baselines:
    """Names of the estimators that are baselines, of this package or another."""

    def __iter__(self) -> Any:
        return (name for name in ESTIMATORS if ESTIMATORS.setting(name, NEEDS) is not None)

    def __contains__(self, name: object) -> bool:
        return name in ESTIMATORS and ESTIMATORS.setting(str(name), NEEDS) is not None

    def __len__(self) -> int:
        return len(list(iter(self)))


BASELINES = _Baselines()

BaselineName = Annotated[str, OneOf("baseline", BASELINES)]


class Model(Block):
    """One model: a posterior family with its options, a baseline with its own, or one that is trained."""

    family: FamilyName | None = Field(None, description="posterior family, see `canopyflow families`")
    family_options: dict[str, Any] = Field(default_factory=dict, description="options of the family")
    dynamics: Annotated[str, OneOf(SEASON_PRIORS.what, SEASON_PRIORS)] | None = Field(
        None,
        description="prior of trajectories, see docs/seasons.md: makes it a model of whole seasons, mapped "
        "by the year",
    )
    dynamics_options: dict[str, Any] = Field(default_factory=dict, description="options of the dynamics")
    estimator: Annotated[str, OneOf("estimator", BASELINES, (AMORTISED,))] = Field(
        AMORTISED,
        description="`amortised`: the family; or a baseline in its place, see docs/baselines.md",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options of the baseline")
    shipped: Annotated[str, OneOf("shipped model", SHIPPED)] | None = Field(
        None, description="a model that comes with the package, in place of both; see `canopyflow models`"
    )

    @model_validator(mode="after")
    def _options_belong(self) -> Model:
        if self.shipped is not None:
            for key in ("family", "family_options", "options", "dynamics", "dynamics_options"):
                if getattr(self, key):
                    raise Mistake(key, f"{self.shipped} is trained already and has its own")
            if self.is_baseline:
                raise Mistake("estimator", f"{self.shipped} is trained already, and no baseline")
        elif self.is_baseline:
            if self.family is not None:
                raise Mistake("family", f"{self.estimator} is a baseline, which has no family")
            if self.dynamics is not None:
                raise Mistake("dynamics", f"{self.estimator} is a baseline, which knows single dates alone")
            check_options(ESTIMATORS, self.estimator, self.options, "options.")
        elif self.family is None:
            raise Mistake(
                "family", "give a family, a baseline as `estimator`, or the name of a `shipped` model"
            )
        elif self.options:
            raise Mistake("options", "those of a family are its family_options")
        else:
            check_options(FAMILIES, self.family, self.family_options, "family_options.")
            if self.dynamics is not None:
                check_options(SEASON_PRIORS, self.dynamics, self.dynamics_options, "dynamics_options.")
            elif self.dynamics_options:
                raise Mistake("dynamics_options", "there are no dynamics that they belong to")
        return self

    @property
    def built_from(self) -> dict[str, Any]:
        """What the rule that trains is told of it, as plain values."""
        own = ("estimator", "options") if self.is_baseline else ("family", "family_options")
        seasons = ("dynamics", "dynamics_options") if self.of_seasons else ()
        return self.model_dump(include={*own, *seasons})

    @property
    def of_seasons(self) -> bool:
        """Whether it is a model of whole seasons, mapped by the year."""
        return self.dynamics is not None

    @property
    def is_baseline(self) -> bool:
        """Whether it is fitted at once, and not trained by objectives."""
        return self.estimator != AMORTISED

    @property
    def needs_labels(self) -> bool:
        """Whether it is fitted to labelled plots and not to simulations."""
        return self.is_baseline and ESTIMATORS.setting(self.estimator, NEEDS) == "labels"

    @property
    def has_state(self) -> bool:
        """Whether its draws are states of the generative model of a pixel."""
        return not self.of_seasons and bool(ESTIMATORS.setting(self.estimator, "has_state", True))

    @property
    def described(self) -> dict[str, Any]:
        """``model.json`` of a model that comes with the package; nothing of others."""
        return {} if self.shipped is None else description(self.shipped)

    @property
    def kind(self) -> str:
        """Its family, or the baseline that it is."""
        if self.is_baseline:
            return self.estimator
        return str(self.described["family"]["name"]) if self.shipped is not None else str(self.family)
