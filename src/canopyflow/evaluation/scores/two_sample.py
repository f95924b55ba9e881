"""How far are two sets of draws apart? One number per pixel, for many pixels at once.

``c2st``: the held-out accuracy of a classifier that must tell the two apart (Lopez-Paz & Oquab 2017,
arXiv:1610.06545), 0.5 where it cannot and 1 where it always can. Two small networks per pixel, all trained
in the same tensor operations: seconds, where one scikit-learn fit per pixel would take minutes.
``sliced_wasserstein``: the mean Wasserstein distance of one-dimensional projections (Rabin et al. 2012).
"""

import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from canopyflow.models.descent import descent
from canopyflow.seeds import seed_of

WIDTH, EPOCHS, FOLDS = 32, 40, 5
BATCH, RATE, DECAY = 128, 5e-3, 1e-3
"""Each classifier has two hidden layers of ``WIDTH``, trained by AdamW and judged on the fold left out."""

NETWORKS = 2
"""Networks per classifier, whose logits are averaged: sharper than one alone."""

SLICES = 100

_GROUP = 32
"""Pixels whose classifiers are trained together: their work stays in a processor's cache."""


def c2st(p: Tensor, q: Tensor, seed: int = 0) -> Tensor:
    """Accuracies (n,) on held-out draws of ``p`` and ``q``, both (n, draws, D); in float32 on the CPU.

    Draws are standardised by those of ``p``. Equal numbers of draws of either side are used. Neighbours in
    ``p`` may depend on each other, as those of chains do, and draws of ``q`` may be repeated, as resampling
    repeats them: folds are cut so that neighbours and copies are held out together. A classifier that
    has seen a copy of what it is asked would tell equal distributions apart.
    """
    count = min(p.shape[1], q.shape[1])
    groups = range(0, len(p), _GROUP)
    return torch.cat(
        [_accuracy(p[i : i + _GROUP, :count], q[i : i + _GROUP, :count], seed_of(seed, i)) for i in groups]
    )


def _accuracy(p: Tensor, q: Tensor, seed: int) -> Tensor:
    n, count = p.shape[:2]
    g = torch.Generator().manual_seed(seed)
    centre, scale = p.mean(1, keepdim=True), p.std(1, keepdim=True).clamp_min(1e-12)
    # Folds are stretches: draw i of p and draw i of q are held out together, so that each is balanced.
    q = _copies_together(q, g)
    x = torch.stack([(p - centre) / scale, (q - centre) / scale], dim=2).clamp(-10.0, 10.0)
    right = torch.zeros(n)
    for held in torch.arange(count).chunk(FOLDS):
        train = torch.ones(count, dtype=torch.bool)
        train[held] = False
        weights = _fit(x[:, train].repeat(NETWORKS, 1, 1, 1), g)
        with torch.no_grad():
            votes = _logits(weights, x[:, held].flatten(1, 2).repeat(NETWORKS, 1, 1))
            logits = votes.unflatten(0, (NETWORKS, n)).mean(0).unflatten(1, (-1, 2))
        # A tie is half right: where the two are the same the accuracy is then one half.
        right += ((logits < 0).float() + 0.5 * (logits == 0))[..., 0].sum(1)
        right += ((logits > 0).float() + 0.5 * (logits == 0))[..., 1].sum(1)
    return right / (2 * count)


def _copies_together(draws: Tensor, g: torch.Generator) -> Tensor:
    """``draws`` (n, draws, D) in an order that is random but for equal ones, which are neighbours."""
    direction = torch.rand(draws.shape[-1], generator=g, dtype=torch.double) + 0.5
    # Sorted by the last digits of a projection: as good as random, and the same for equal draws.
    key = (draws.double() * direction / draws.double().std((0, 1)).clamp_min(1e-12) * 1e4).sum(-1) % 1.0
    return draws.gather(1, key.argsort(1).unsqueeze(-1).expand_as(draws))


def _fit(x: Tensor, g: torch.Generator) -> list[Tensor]:
    """Train one network per pixel on ``x`` (n, draws, 2, D); returns their weights."""
    n, count, _, dim = x.shape
    sizes = (dim, WIDTH, WIDTH, 1)
    weights = []
    for before, after in pairwise(sizes):
        weights.append(torch.randn(n, before, after, generator=g) * math.sqrt(2.0 / before))
        weights.append(torch.zeros(n, 1, after))
    for tensor in weights:
        tensor.requires_grad_()
    steps = EPOCHS * max(1, count // BATCH)
    label = torch.tensor([0.0, 1.0]).expand(n, min(BATCH, count), 2).flatten(1)

    def loss(step: int) -> Tensor:
        rows = torch.randperm(count, generator=g)[:BATCH]
        logits = _logits(weights, x[:, rows].flatten(1, 2))
        # Summed over pixels: each network sees the mean of its own batch alone.
        return binary_cross_entropy_with_logits(logits, label, reduction="none").mean(1).sum()

    for _ in descent(weights, loss, steps=steps, rate=RATE, rise=0.3, decay=DECAY):
        pass
    return [tensor.detach() for tensor in weights]


def _logits(weights: list[Tensor], x: Tensor) -> Tensor:
    """(n, draws, D) → (n, draws)."""
    for i in range(0, len(weights), 2):
        x = torch.baddbmm(weights[i + 1], x, weights[i])
        if i + 2 < len(weights):
            x = torch.relu(x)
    return x.squeeze(-1)


def sliced_wasserstein(p: Tensor, q: Tensor, seed: int = 0) -> Tensor:
    """Mean W1 (n,) over random directions, (n, draws, D) each, in standard deviations of ``p``."""
    count = min(p.shape[1], q.shape[1])
    g = torch.Generator().manual_seed(seed_of("slices", seed))
    directions = torch.randn(p.shape[-1], SLICES, generator=g)
    directions /= directions.norm(dim=0)
    centre, scale = p.mean(1, keepdim=True), p.std(1, keepdim=True).clamp_min(1e-12)
    a, b = (((side[:, :count] - centre) / scale) @ directions for side in (p, q))
    return (a.sort(dim=1).values - b.sort(dim=1).values).abs().mean((1, 2))
