"""Scores of joint draws where the truth is known: is the whole distribution right, is any dimension idle?"""

import torch
from torch import Tensor

from canopyflow.evaluation.scores.two_sample import sliced_wasserstein
from canopyflow.seeds import seed_of

ACTIVE = 0.01
"""Least variance of the posterior mean, as a share of the prior's, of an active unit (Burda et al. 2016)."""

_PAIRED = 100
"""Draws behind the energy score, whose cost is quadratic in them."""


def joint_scores(z: Tensor, truth: Tensor, seed: int) -> dict[str, float]:
    """Scores of draws ``z`` (K, n, D) for the ``truth`` (n, D), which is itself a sample of the prior.

    All in standard deviations of the prior. ``tarp``: mean absolute difference between expected and nominal
    coverage; ``energy_score`` (Gneiting & Raftery 2007, J. Am. Stat. Assoc. 102:359); ``active_units``;
    ``aggregate``: sliced Wasserstein distance between all posteriors together and the prior.
    """
    centre, scale = truth.mean(0), truth.std(0)
    draws, known = (z - centre) / scale, (truth - centre) / scale
    g = torch.Generator().manual_seed(seed_of("joint", seed))
    n = len(known)
    one = draws[torch.randint(len(draws), (n,), generator=g), torch.arange(n)]
    return {
        "tarp": tarp(draws, known, known[torch.randperm(n, generator=g)]),
        "energy_score": energy_score(draws[:_PAIRED], known),
        "active_units": float((draws.mean(0).var(0) > ACTIVE).sum()),
        "aggregate": float(sliced_wasserstein(known[None], one[None])[0]),
    }


def tarp(draws: Tensor, truth: Tensor, centres: Tensor) -> float:
    """Tests of accuracy with random points (Lemos et al. 2023, arXiv:2302.03026).

    ``draws`` (K, n, D), ``truth`` and ``centres`` (n, D). A region is the ball around a centre, which must
    not depend on the truth, out to the truth; of a calibrated posterior the share of draws inside is uniform.
    The mean absolute difference between its quantiles and the uniform ones is returned.
    """
    share = ((draws - centres).norm(dim=-1) < (truth - centres).norm(dim=-1)).double().mean(0)
    expected = (torch.arange(len(share), dtype=torch.double) + 0.5) / len(share)
    return float((share.sort().values - expected).abs().mean())


def energy_score(draws: Tensor, truth: Tensor) -> float:
    """Mean of E|X − y| − E|X − X'| / 2 over pixels, unbiased, of ``draws`` (K, n, D) and ``truth`` (n, D)."""
    count = len(draws)
    by_pixel = draws.movedim(0, 1).contiguous()
    spread = torch.cdist(by_pixel, by_pixel).sum((1, 2)) / (count * (count - 1))
    return float(((draws - truth).norm(dim=-1).mean(0) - 0.5 * spread).mean())
