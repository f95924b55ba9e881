"""Joint scores of draws where the truth is known: the honest posterior has the best."""

import math

import torch

from canopyflow.evaluation.scores.joint import energy_score, tarp


def test_tarp_and_energy_score_prefer_the_honest_posterior():
    g = torch.Generator().manual_seed(0)
    truth = torch.randn(2000, 3, generator=g)
    observed = truth + torch.randn(2000, 3, generator=g)
    # The posterior of each is N(observed / 2, 1/2).
    noise = torch.randn(200, 2000, 3, generator=g) / math.sqrt(2)
    centres = torch.randn(2000, 3, generator=g)
    honest = observed / 2 + noise
    assert tarp(honest, truth, centres) < 0.02
    assert tarp(observed / 2 + 0.5 * noise, truth, centres) > 0.04
    assert tarp(observed / 2 + 0.5 + noise, truth, centres) > 0.04
    scores = [energy_score(d, truth) for d in (honest, observed / 2 + 0.5 * noise, honest + 0.5)]
    assert scores[0] < min(scores[1:])
