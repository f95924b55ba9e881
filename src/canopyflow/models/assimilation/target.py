"""Seasons as targets of assimilation: a denoiser, spectra, and whatever else was measured.

Field plots and coarse maps are observations like spectra: of what :meth:`Generative.outputs` says of a
state, with an error of their own. A plot sees one date of one pixel; a coarse map sees weighted means over
pixels of a cell, over dates of a composite, or both, and ties them to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.models.assimilation.denoisers import Denoiser, Gaussian, Smoother
from canopyflow.models.generative._season import Season
from canopyflow.observations.observation import Observation
from canopyflow.samplers.contract import Draws, Linearised, Product, Sampler, Target

_APART = 10.0
"""Days between further dates that are asked about where a denoiser needs more than there are."""


@dataclass(frozen=True)
class Plots:
    """Field measurements of the estimate ``name`` on dates of the season.

    ``value`` and ``deviation`` (n, T): what was measured and the standard deviation of its error; ``valid``
    (n, T): where. What stands elsewhere does not matter.
    """

    name: str
    value: Tensor
    deviation: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Coarse:
    """Weighted means of the estimate ``name``.

    ``value`` and ``deviation`` (cells, r): r means of each cell, and the standard deviation of their error;
    ``weight`` (cells, r, P, T): of each date of the P pixels of a cell; it should add up to 1.
    """

    name: str
    value: Tensor
    deviation: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Problem:
    """What is known of the seasons ``seen`` (n of them) under ``model``, and the ``denoiser`` of its prior;
    None for the exact one of a normal prior.

    ``cell``: how many seasons in a row share coarse maps, and are therefore one problem. Raises DataError for
    measurements that do not fit the seasons, for estimates that the model does not have.
    """

    model: Season
    seen: Observation
    denoiser: Denoiser | None = None
    plots: Sequence[Plots] = ()
    coarse: Sequence[Coarse] = ()
    cell: int = 1

    @property
    def further(self) -> list[Plots | Coarse]:
        """What was measured beside spectra."""
        return [*self.plots, *self.coarse]

    @property
    def measured(self) -> list[str]:
        """Names of the estimates that were measured."""
        return sorted({one.name for one in self.further})

    def __post_init__(self) -> None:
        n, dates = self.seen.geometry.shape[:2]
        known = {variable.name for variable in self.model.estimates}
        for one in self.further:
            if one.name not in known:
                raise DataError(f"{one.name!r} is no estimate of the model", f"it has {', '.join(known)}")
        if self.cell < 1 or n % self.cell:
            raise DataError(f"{n} seasons in cells of {self.cell}", f"give whole cells of {self.cell}")
        for plots in self.plots:
            _same(plots.name, (plots.value, plots.deviation, plots.valid), (n, dates))
        for coarse in self.coarse:
            rows = (n // self.cell, coarse.value.shape[-1])
            _same(coarse.name, (coarse.value, coarse.deviation), rows)
            _same(f"the weights of {coarse.name}", (coarse.weight,), (*rows, self.cell, dates))


def _same(name: str, given: Sequence[Tensor], shape: tuple[int, ...]) -> None:
    for tensor in given:
        if tensor.shape != shape:
            raise DataError(
                f"measurements of {name}: shape {tuple(tensor.shape)} for seasons of {shape}",
                "give one for each season and date, or one for each row and cell",
            )


class Assimilated:
    """The posterior of trajectories, drawn from when it is asked. States are (count, n, T, D), physical."""

    def __init__(self, problem: Problem, sampler: Sampler) -> None:
        self.problem, self.sampler = problem, sampler

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        found = self.sampler.draw(target(self.problem), (count,), generator)
        each = self.problem.cell
        return replace(
            found,
            reliable=None if found.reliable is None else found.reliable.repeat_interleave(each),
            ess=None if found.ess is None else found.ess.repeat_interleave(each),
            diagnosis={name: value.repeat_interleave(each) for name, value in found.diagnosis.items()},
        )


def target(problem: Problem) -> Target:
    """One problem per cell; its coordinates are the normal scores of P seasons of T dates, one after the
    other.

    The outward map gives (*sample, n, T, D), each season by itself.
    """
    model, dates = problem.model, problem.seen.geometry.shape[-2]
    denoiser = problem.denoiser or Gaussian(model.dynamics)
    whole = _padded(problem, max(dates, denoiser.least))
    seen, law = whole.seen, model.prior(whole.seen)
    assert seen.day is not None
    event = (seen.geometry.shape[-2], len(model.space.names))
    denoise = denoiser.on(seen.day)
    normal = None if denoiser.normal is None else Smoother(denoiser.normal, seen.day)

    def seasons(x: Tensor) -> Tensor:
        """(*sample, cells, P T D) → (*sample, n, T, D)."""
        return x.unflatten(-1, (problem.cell, *event)).flatten(-4, -3)

    def cells(w: Tensor) -> Tensor:
        return w.unflatten(-3, (-1, problem.cell)).flatten(-3)

    def denoised(x: Tensor, sigma: float) -> tuple[Tensor, Product | None]:
        found = denoise(seasons(x), sigma)
        if normal is None or found.scale is None:
            return cells(found.mean), None
        scale, level = found.scale.detach(), torch.as_tensor(sigma)

        def covariance(v: Tensor) -> Tensor:
            return cells(sigma**2 * scale * normal.mean(scale * seasons(v), level))

        return cells(found.mean), covariance

    def start(count: int, g: torch.Generator) -> Tensor:
        wide = torch.randn(count, len(seen), *event, generator=g, dtype=seen.reflectance.dtype)
        return cells(2.0 * wide)

    return Target(
        log_density=lambda x: _log_density(whole, seasons(x)),
        outward=lambda x: law.to_physical(model.from_probit(seasons(x)))[..., :dates, :],
        start=start,
        denoiser=denoised,
        linearise=lambda x: linearised(whole, seasons(x)),
    )


def _padded(problem: Problem, dates: int) -> Problem:
    """The same with further dates, after the last, that are only asked about."""
    seen = problem.seen
    more = dates - seen.geometry.shape[-2]
    if more <= 0:
        return problem
    assert seen.day is not None
    later = seen.day.amax(-1, keepdim=True) + _APART * torch.arange(1, more + 1).to(seen.day)

    def grown(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor.new_zeros(len(tensor), more, *tensor.shape[2:])], 1)

    longer = replace(seen.each(grown), day=torch.cat([seen.day, later], 1))
    plots = [
        replace(one, value=grown(one.value), deviation=grown(one.deviation), valid=grown(one.valid))
        for one in problem.plots
    ]
    coarse = [replace(one, weight=torch.nn.functional.pad(one.weight, (0, more))) for one in problem.coarse]
    return replace(problem, seen=longer, plots=plots, coarse=coarse)


def linearised(problem: Problem, w: Tensor) -> Linearised:
    """All measurements near the normal scores ``w`` (*sample, n, T, D), a block for each date of a cell."""
    model, seen = problem.model, problem.seen
    value, jacobian = model.linearise(w, seen)
    valid = seen.valid
    precision = model.noise_precision(value, valid) + torch.diag_embed((~valid).to(value))
    root = torch.linalg.cholesky(precision)
    residual = torch.where(valid, seen.reflectance - value, 0.0)
    jacobian = torch.where(valid[..., None], jacobian, 0.0)
    residual, jacobian = (root.mT @ residual[..., None])[..., 0], root.mT @ jacobian
    outputs = _outputs(problem, w)
    for plots in problem.plots:
        said, slope = outputs[plots.name]
        deviation = torch.where(plots.valid, plots.deviation, 1.0)
        own = torch.where(plots.valid, (torch.where(plots.valid, plots.value, 0.0) - said) / deviation, 0.0)
        slope = torch.where(plots.valid[..., None], slope / deviation[..., None], 0.0)
        residual = torch.cat([residual, own[..., None]], -1)
        jacobian = torch.cat([jacobian, slope[..., None, :]], -2)

    def by_cell(blocks: Tensor, behind: int) -> Tensor:
        """(*sample, n, T, ...) → (*sample, cells, P T, ...) with ``behind`` axes behind T."""
        axis = -2 - behind
        return blocks.unflatten(axis, (-1, problem.cell)).flatten(axis, axis + 1)

    wide = [_coarse(one, *outputs[one.name]) for one in problem.coarse]
    return Linearised(
        by_cell(residual, 1),
        by_cell(jacobian, 2),
        torch.cat([own for own, _ in wide], -1) if wide else None,
        torch.cat([slope for _, slope in wide], -2) if wide else None,
    )


def _outputs(problem: Problem, w: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Value (*sample, n, T) of each measured estimate and its derivative (*sample, n, T, D) by the state of
    the same date."""
    names = problem.measured
    if not names:
        return {}
    model, seen = problem.model, problem.seen
    with torch.enable_grad():
        leaf = w.detach().requires_grad_()
        z = model.prior(seen).to_physical(model.from_probit(leaf))
        said = model.outputs(z, seen, names)
        slopes = [
            torch.autograd.grad(said[..., i].sum(), leaf, retain_graph=True)[0] for i in range(len(names))
        ]
    return {name: (said[..., i].detach(), slopes[i]) for i, name in enumerate(names)}


def _coarse(one: Coarse, said: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Residual (*sample, cells, r) and Jacobian (*sample, cells, r, P T D) in units of the error."""
    pixels = one.weight.shape[-2]
    said, slope = said.unflatten(-2, (-1, pixels)), slope.unflatten(-3, (-1, pixels))
    mean = torch.einsum("crpt,...cpt->...cr", one.weight.to(said), said)
    wide = torch.einsum("crpt,...cptd->...crptd", one.weight.to(said), slope).flatten(-3)
    return (one.value - mean) / one.deviation, wide / one.deviation[..., None]


def _log_density(problem: Problem, w: Tensor) -> Tensor:
    """Log density (*sample, cells) of normal scores ``w`` (*sample, n, T, D) up to a constant."""
    model, seen = problem.model, problem.seen
    law = model.prior(seen)
    z = law.to_physical(model.from_probit(w))
    total = model.log_likelihood(z, seen) + law.log_prob_scores(w)
    names = problem.measured
    said = dict(zip(names, model.outputs(z, seen, names).unbind(-1), strict=True)) if names else {}
    for plots in problem.plots:
        deviation = torch.where(plots.valid, plots.deviation, 1.0)
        apart = torch.where(plots.valid, (torch.where(plots.valid, plots.value, 0.0) - said[plots.name]), 0.0)
        total = total - 0.5 * (apart / deviation).square().sum(-1)
    total = total.unflatten(-1, (-1, problem.cell)).sum(-1)
    for one in problem.coarse:
        by_cell = said[one.name].unflatten(-2, (-1, problem.cell))
        mean = torch.einsum("crpt,...cpt->...cr", one.weight.to(by_cell), by_cell)
        total = total - 0.5 * ((one.value - mean) / one.deviation).square().sum(-1)
    return total
