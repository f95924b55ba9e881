"""The physical variational auto-encoder: a learned encoder, a posterior family, physics as decoder.

Families live on the base box of the generative model; every density is carried across to physical units with
the Jacobian of the prior's map. Whatever leaves this module is in physical units.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from canopyflow import posteriors
from canopyflow.errors import ConfigError, DataError
from canopyflow.models.domain import Domain
from canopyflow.models.encoders.contract import Encoder
from canopyflow.models.estimators.contract import Learned, Learning
from canopyflow.models.generative.contract import Generative, Prior
from canopyflow.models.given import Numbers, observation_of
from canopyflow.models.priors.contract import NO_LEARNED_PRIOR, LearnedPrior
from canopyflow.models.summaries import Summaries, statistics_of
from canopyflow.observations.observation import Given, Observation, View, pixels
from canopyflow.posteriors.contract import Family, LogJoint, Posterior
from canopyflow.registry import ENCODERS, FAMILIES, GENERATIVE, PRIORS
from canopyflow.samplers.contract import Draws
from canopyflow.vocabulary import OUTPUTS, QUANTILES, STATISTICS

if TYPE_CHECKING:
    from canopyflow.models.season_summaries import SeasonSummaries
    from canopyflow.models.trajectory import Chain

log = logging.getLogger("canopyflow")

FIT_DRAWS = 8
"""Draws that are decoded to judge the fit of one pixel."""

_DRAWS = 1000
"""Draws behind a sampled marginal quantile."""


@dataclass(frozen=True)
class ModelOptions:
    """Everything a model is built from, as plain values; ``model.json`` carries exactly these."""

    family: str
    bands: tuple[str, ...]
    platforms: tuple[str, ...]
    family_options: dict[str, Any] = field(default_factory=dict)
    encoder: str = "pixel"
    encoder_options: dict[str, Any] = field(default_factory=dict)
    generative: str = "prosail"
    generative_options: dict[str, Any] = field(default_factory=dict)
    learned_prior: str = NO_LEARNED_PRIOR
    summaries: dict[str, Any] | None = None
    """Options of the network that learns the summaries; None: all summaries are drawn."""
    dynamics: str | None = None
    """The prior of trajectories by which dates belong together; None: every date is by itself."""
    dynamics_options: dict[str, Any] = field(default_factory=dict)


class PhysicalPosterior:
    """A family's distribution on the base box, pushed forward to physical units.

    Sample shapes follow the family contract: (K, *batch, D) and (K, *batch); for seasons (K, *batch, date, D)
    and (K, *batch).
    """

    def __init__(self, model: Amortised, seen: Observation) -> None:
        self.generative, self.seen = model.generative, seen
        self.prior: Prior = model.generative.prior(seen)
        self._model, self._h = model, model.encoder(seen)

        def log_joint(u: Tensor) -> Tensor:
            return self.base_log_likelihood(u) + model.log_prior(u, seen)

        self.base: Posterior = model.base_posterior(self._h, seen, log_joint)
        self.has_density = self.base.has_density

    def base_log_likelihood(self, u: Tensor) -> Tensor:
        """log p(x | u), (*sample, *batch), of base variables."""
        return self.generative.log_likelihood(self.prior.to_physical(u), self.seen)

    def base_log_joint(self, u: Tensor) -> Tensor:
        """log p(x, u) per unit of base volume, (*sample, *batch), under the physical prior."""
        return self.generative.log_joint(u, self.seen)

    def held_log_prob(self, u: Tensor) -> Tensor:
        """Density of ``base`` with weights and features held fixed: a function of the point alone."""
        with held(self._model.family):
            return self._model.base_posterior(self._h.detach(), self.seen).log_prob(u)

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        """Joint draws (count, *batch, D)."""
        return Draws(self.rsample((count,), generator))

    def rsample(self, shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw (*shape, *batch, D), differentiable; from torch's global generator without one."""
        return self.prior.to_physical(self.base.rsample(shape, generator))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density per unit of physical volume at ``z`` (..., *batch, D)."""
        u = self.prior.to_base(z)
        return self.base.log_prob(u) - self.prior.log_abs_det(u)

    def log_prob_bound(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """:meth:`log_prob`, or for a family without a density one random draw of a lower bound of it."""
        u = self.prior.to_base(z)
        return self.base.log_prob_bound(u, generator) - self.prior.log_abs_det(u)

    def rsample_and_log_prob(
        self, shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw and its log density (or the extended-space term that keeps a bound valid), in one pass."""
        u, log_q = self.base.rsample_and_log_prob(shape, generator)
        return self.prior.to_physical(u), log_q - self.prior.log_abs_det(u)

    def quantile(self, p: float | Tensor) -> Tensor:
        """Marginal quantiles (*p.shape, *batch, D) of draws from a fixed seed.

        They are sampled even where the family knows its own in closed form: in physical units the bounds of a
        variable move with leaf area, so its marginal is a mixture.
        """
        with torch.no_grad():
            draws = self.rsample((_DRAWS,), torch.Generator(self.base.device).manual_seed(0))
        return torch.quantile(draws, torch.as_tensor(p, dtype=draws.dtype, device=draws.device), dim=0)


class Amortised(nn.Module, Learning):
    """Encoder + family + generative model, for all platforms of the model; perhaps with a learned prior.

    With ``dynamics`` it is a model of seasons: its generative model is a
    :class:`canopyflow.models.generative._season.Season`, its family stands in a
    :class:`canopyflow.models.trajectory.Chain`. Raises ConfigError where encoder and dynamics do not belong
    together.
    """

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        self.options = options
        self.meta: dict[str, Any] = {}
        self._said_default = False
        self.encoder: Encoder = ENCODERS.build(
            options.encoder, options.bands, options.platforms, **options.encoder_options
        )
        generative = _generative(options, self.encoder)
        space = generative.space
        # Before the call: an option named like one of its own parameters would be a bare TypeError.
        FAMILIES.check(options.family, options.family_options)
        # The order of these constructions is that of the random numbers behind the first weights.
        family = posteriors.build(
            options.family,
            dim=len(space.names),
            features=self.encoder.features,
            lower=space.lower,
            upper=space.upper,
            **options.family_options,
        )
        self.family = cast("Family | Chain", self.encoder.law(family, generative))
        self.generative = generative
        self.learned_prior: LearnedPrior | None = None
        if options.learned_prior != NO_LEARNED_PRIOR:
            self.learned_prior = PRIORS.build(options.learned_prior, options.bands, space.lower, space.upper)
        self.head: Summaries | None = None
        if options.summaries is not None:
            given = (options.bands, options.platforms, generative.estimates)
            beside = self.encoder.beside_summaries()
            self.head = self.encoder.summaries()(*given, **options.summaries, **beside)
        self.known_spectra = Domain(options.bands)

    @property
    def domain(self) -> Domain:
        return self.known_spectra

    @property
    def reads_incomplete(self) -> bool:
        """Whether it was trained on pixels that lack bands, or on seasons that lack dates."""
        return self.encoder.hidden > 0 or self.encoder.view is View.SEASON

    @property
    def learns(self) -> bool:
        """Whether its learned summaries passed their check after training."""
        return self.head is not None and bool(self.meta.get("summaries", {}).get("passed"))

    def learned(self, seen: Observation, names: Sequence[str], statistics: Sequence[str]) -> Learned:
        """Summaries by the network that learned them; trusted where it was trained, and where it says that
        the posterior fits. Pixels that lack bands are judged by a check of their own, if they were trained
        on.

        Of seasons (n, date) ``stats`` are (statistics, names, n, date), of dates that were not seen too;
        ``fit`` and ``trusted`` are (n,)."""
        assert self.head is not None
        levels = [QUANTILES[name] for name in statistics if name in QUANTILES]
        (mean, deviation, quantiles, log_fit2), inside = self.head.answer(seen, names, levels)
        fit = (0.5 * log_fit2).exp()
        mean, quantiles = (self.head.within_bounds(value, names) for value in (mean, quantiles))
        stats = statistics_of(mean, deviation, quantiles, levels, statistics)
        about = self.meta.get("summaries", {})
        most = torch.full_like(fit, about.get("fit_trusted", 0.0))
        if seen.view is View.PIXEL and not seen.complete:
            partly = about.get("incomplete", {})
            most[~seen.valid.all(-1)] = partly["fit_trusted"] if partly.get("passed") else 0.0
        trusted = inside & (self.comparable(fit, seen) <= most)
        elements = seen.geometry.shape[:-1]
        finite = stats.sum((0, 1)).isfinite().view(len(seen), elements[1:].numel()).all(-1)
        return Learned(stats.reshape(*stats.shape[:2], *elements), fit, trusted & finite)

    def learned_seasons(
        self,
        seen: Observation,
        names: Sequence[str],
        statistics: Sequence[str],
        dates: Tensor | None = None,
    ) -> Learned:
        """Summaries (statistics, names, n) of seasons themselves, ``names`` some of
        :data:`canopyflow.models.phenology.NAMES`: over all dates of ``seen`` (n, date), or those at these
        places, as joint draws at these dates have them. Trusted as :meth:`learned` is."""
        head = cast("SeasonSummaries", self.head)
        levels = [QUANTILES[name] for name in statistics if name in QUANTILES]
        mean, deviation, quantiles = head.answer_whole(seen, names, levels, dates)
        mean, quantiles = (head.whole.within_bounds(value, names) for value in (mean, quantiles))
        stats = statistics_of(mean, deviation, quantiles, levels, statistics)
        log_fit2, inside = head.judged(seen)
        fit = (0.5 * log_fit2).exp()
        most = self.meta.get("summaries", {}).get("fit_trusted", 0.0)
        trusted = inside & (self.comparable(fit, seen) <= most)
        return Learned(stats, fit, trusted & stats.sum((0, 1)).isfinite())

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def weights(self) -> dict[str, Tensor]:
        """Everything learned or measured on data; the physics' own constants are code, not weights."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("generative.")}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Inverse of :meth:`weights`. Raises DataError if names or shapes differ."""
        own = self.weights()
        if own.keys() != weights.keys():
            odd = sorted(own.keys() ^ weights.keys())[0]
            raise DataError(f"weights do not belong to this model: {odd!r} is on one side only")
        for name, tensor in own.items():
            if tensor.shape != weights[name].shape:
                raise DataError(
                    f"weights do not belong to this model: {name!r} is {tuple(weights[name].shape)}, "
                    f"not {tuple(tensor.shape)}"
                )
        self.load_state_dict(weights, strict=False)

    def posterior(
        self,
        seen: Observation | Numbers,
        angles: Numbers | None = None,
        platform: Any = None,
    ) -> PhysicalPosterior:
        """The posterior of an observation; or of (*batch, bands) reflectance and (*batch, 3) angles in
        degrees, as :func:`canopyflow.models.given.observation_of` takes them.

        ``platform``: by default the model's first, with one warning if it knows several. Raises DataError for
        an unknown band or platform, and, of numbers, for what is no reflectance or no angle in degrees.
        """
        if not isinstance(seen, Observation):
            seen = self._observed(seen, angles, platform)
        return PhysicalPosterior(self, self.understood(seen))

    def understood(self, seen: Observation) -> Observation:
        """As the contract says. Raises DataError too for pixels where it looks at seasons, and the other way
        round."""
        if seen.view is not self.encoder.view:
            raise DataError(
                f"a {seen.view.value} was given to a model of a {self.encoder.view.value}",
                "a model with dynamics takes seasons, one without takes pixels",
            )
        return super().understood(seen)

    def summaries(
        self,
        reflectance: Numbers,
        angles: Numbers,
        platform: Any = None,
        names: Sequence[str] = OUTPUTS,
        statistics: Sequence[str] = STATISTICS,
    ) -> Learned:
        """Summaries of the posterior of pixels (*batch, bands) by the network that learned them, without
        draws: ``stats`` (statistics, names, *batch); ``trusted`` (*batch) says which can be believed.

        Arguments and errors as those of :meth:`posterior`; DataError too for a name of nothing, and for a
        model that has learned no summaries, or not well enough.
        """
        if not self.learns:
            raise DataError(
                "this model has no learned summaries that passed their check", "draw from its posterior"
            )
        known = tuple(variable.name for variable in self.generative.estimates)
        for kind, asked, allowed in (("variable", names, known), ("statistic", statistics, STATISTICS)):
            if isinstance(asked, str):
                raise DataError(f"{asked!r} is no list of {kind}s", f"give [{asked!r}]")
            for name in asked:
                if name not in allowed:
                    raise DataError(f"{name!r} is no {kind} of this model", f"it has {', '.join(allowed)}")
        seen = self.understood(self._observed(reflectance, angles, platform))
        batch = seen.reflectance.shape[:-1]
        with torch.no_grad():
            found = self.learned(
                seen.each(lambda t: t.reshape(-1, *t.shape[len(batch) :])), names, statistics
            )
        return Learned(
            found.stats.reshape(*found.stats.shape[:2], *batch),
            found.fit.reshape(batch),
            found.trusted.reshape(batch),
        )

    def _observed(self, reflectance: Numbers, angles: Numbers | None, platform: Any) -> Observation:
        """Numbers from outside as an observation; raises DataError for what they cannot be."""
        if angles is None:
            raise DataError("reflectance without angles", "give the three angles too")
        if platform is None:
            platform = self._default_platform()
        return observation_of(reflectance, angles, platform, self.bands, self.platforms, self.device)

    def base_posterior(self, h: Tensor, seen: Given, log_joint: LogJoint | None = None) -> Posterior:
        """The law on the base box by features ``h`` (*batch, [date], features) of what was ``seen``."""
        if self.encoder.view is View.SEASON:
            assert seen.day is not None, "a season has days"
            return cast("Chain", self.family)(h, seen.day)
        return cast(Family, self.family)(h, log_joint)

    def log_prior(self, u: Tensor, given: Given | None = None) -> Tensor:
        """Log density of base variables (..., D) under the prior of the objective: learned, or physical.

        That of trajectories (..., date, D) depends on the days ``given``.
        """
        if self.learned_prior is None:
            return self.generative.prior(given).log_prob_base(u)
        return self.learned_prior(u, self._base_posterior)

    def _base_posterior(self, reflectance: Tensor, angles: Tensor) -> Posterior:
        """Posterior on the base box of pseudo-inputs, which count as seen by the first platform."""
        seen = pixels(reflectance, angles, self.platforms[0], self.bands)
        return self.base_posterior(self.encoder(seen), seen)

    def _default_platform(self) -> str:
        if len(self.platforms) > 1 and not self._said_default:
            self._said_default = True
            log.warning(
                "default-platform: no platform given, %s is taken; the model knows %s",
                self.platforms[0],
                ", ".join(self.platforms),
            )
        return self.platforms[0]


def _generative(options: ModelOptions, encoder: Encoder) -> Generative:
    """The model of a pixel, or with dynamics that of its seasons."""
    if (options.dynamics is not None) is not (encoder.view is View.SEASON):
        raise ConfigError(
            f"the encoder {options.encoder!r} looks at a {encoder.view.value}, and the model has "
            f"{'no' if options.dynamics is None else 'a'} prior of trajectories",
            "give dynamics to a model with the encoder season, and to no other",
        )
    pixel: Generative = GENERATIVE.build(
        options.generative, options.bands, options.platforms, **options.generative_options
    )
    if options.dynamics is None:
        return pixel
    if options.learned_prior != NO_LEARNED_PRIOR:
        raise ConfigError(
            f"a model of seasons has dynamics, and no learned prior {options.learned_prior!r}",
            f"set learned_prior to {NO_LEARNED_PRIOR}",
        )
    return encoder.generative(pixel, options.dynamics, options.dynamics_options)


@contextmanager
def held(*modules: nn.Module) -> Iterator[None]:
    """Within the block the weights of ``modules`` are constants: no gradient is taken for them."""
    learned: Sequence[nn.Parameter] = [p for m in modules for p in m.parameters() if p.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


ESTIMATOR = Amortised
