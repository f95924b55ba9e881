"""From draws of single pixels to draws of their area mean: ensemble copula coupling.

The posterior of each pixel is drawn on its own, so draw k of one pixel has nothing to do with draw k of its
neighbour, and a mean over draws of the same number would be far too certain: the errors of pixels of one
parcel are alike. Here the draws of each pixel are put into another order, that of the ranks of an
exchangeable normal copula: scores s_ik = √ρ a_k + √(1 − ρ) g_ik, with a_k shared by the parcel and g_ik of
the pixel. No draw changes, so every pixel keeps its posterior. ρ = 0 are independent pixels; with ρ = 1 the
quantiles of the mean are the means of the quantiles.

Sources: Schefzik, Thorarinsdottir & Gneiting 2013 (ensemble copula coupling, doi:10.1214/13-STS443); Clark et
al. 2004 (Schaake shuffle, doi:10.1175/1525-7541(2004)005<0243:TSSAMF>2.0.CO;2).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.floating]


def own_scores(count: int, pixels: int, seed: int) -> Floats:
    """Normal scores (count, pixels) of the pixels alone, the same for the same ``seed``."""
    return np.random.default_rng(seed).standard_normal((count, pixels))


def coupled(draws: Floats, correlation: float, own: Floats) -> Floats:
    """``draws`` (K, n) of n pixels in an order in which row k belongs together.

    ``correlation``: ρ in [0, 1] of the normal scores of two pixels; ``own`` (K, n): :func:`own_scores`. The
    rows come out in the order of what the pixels share. Of one pixel these are its draws, whatever ρ is.
    """
    count = len(draws)
    shared = ndtri((np.arange(count) + 0.5) / count)[:, None]
    scores = np.sqrt(correlation) * shared + np.sqrt(1.0 - correlation) * own
    ranks = scores.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    return np.take_along_axis(np.sort(draws, axis=0), ranks, axis=0)


def area_mean(draws: Floats, weights: Floats, correlation: float, own: Floats) -> Floats:
    """Draws (K,) of the mean of n pixels with these ``weights`` (n,), which need not sum to 1."""
    return coupled(draws, correlation, own) @ (weights / weights.sum())
