"""The posterior of a season as a target of samplers: all dates and variables of it are one problem."""

from __future__ import annotations

import torch
from torch import Tensor

from canopyflow.models.generative._season import Season
from canopyflow.models.priors.seasons.contract import without_density
from canopyflow.observations.observation import Observation
from canopyflow.samplers.contract import Target

_CANDIDATES = 128
"""Prior draws for each season among which chains find their starts."""


def season_density(model: Season, seen: Observation) -> Target:
    """p(z | x) of each of the n seasons of ``seen`` (n, T, band).

    Coordinates x (n, T · D): under a normal prior its white noise, so that its strong ties between dates do
    not slow a chain; else normal scores. Raises ConfigError for dynamics without a density.
    """
    if not model.dynamics.has_density:
        raise without_density(model.dynamics)
    n, dates, d = len(seen), seen.geometry.shape[-2], len(model.space.names)
    law = model.prior(seen)
    dtype = seen.reflectance.dtype
    found = model.dynamics.root(law.day)
    root = None if found is None else found.to(dtype)

    def scores(x: Tensor) -> Tensor:
        """Normal scores (..., n, T, D)."""
        w = x.reshape(*x.shape[:-1], dates, d)
        return w if root is None else torch.einsum("nkts,...nsk->...ntk", root, w)

    def outward(x: Tensor) -> Tensor:
        return law.to_physical(model.from_probit(scores(x)))

    def log_density(x: Tensor) -> Tensor:
        likelihood = model.log_likelihood(outward(x), seen)
        if root is None:
            return likelihood + law.log_prob_scores(scores(x))
        return likelihood - 0.5 * x.square().sum(-1)

    def start(count: int, g: torch.Generator) -> Tensor:
        """Prior draws (count, n, T · D), chosen by weight: their likelihood to a small power, so that they
        are wider apart than the posterior."""
        if root is None:
            x = model.dynamics.sample(law.day.repeat(_CANDIDATES, 1), g).reshape(_CANDIDATES, n, -1)
        else:
            x = torch.randn(_CANDIDATES, n, dates * d, generator=g, device=seen.reflectance.device)
        x = x.to(dtype)
        with torch.no_grad():
            fits = torch.stack([model.log_likelihood(outward(each), seen) for each in x])
        clear = seen.valid.any(-1).sum(-1).clamp_min(1)
        weights = torch.softmax((0.1 * fits / clear).nan_to_num(nan=-1e9), dim=0) + 1e-12
        chosen = torch.multinomial(weights.T, count, replacement=True, generator=g)
        return x[chosen.T, torch.arange(n, device=x.device)]

    def information(x: Tensor) -> Tensor:
        """Fisher information of the likelihood, with the noise held as it is at ``x``, plus the prior's
        precision."""
        assert root is not None
        value, jacobian = model.linearise(scores(x), seen)
        jacobian = torch.where(seen.valid.unsqueeze(-1), jacobian, 0.0)
        each = jacobian.mT @ model.noise_precision(value, seen.valid) @ jacobian
        # Date by date, then through the roots: variables k, l at dates t; white noise s, r.
        right = torch.einsum("ntkl,nltr->nktlr", each, root)
        whole = torch.einsum("nkts,nktlr->nskrl", root, right).reshape(n, dates * d, dates * d)
        return whole + torch.eye(dates * d).to(whole)

    return Target(
        log_density=log_density,
        outward=outward,
        start=start,
        rows=lambda index: season_density(model.of_rows(index), seen.rows(index)),
        information=information if root is not None else None,
    )
