"""Named random streams: every draw depends on the seed and on what it is for, never on the order of work."""

import zlib

import numpy as np


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return the generator of one purpose, e.g. ``stream(0, "noise", "2021-05-09", "31TGM")``."""
    return np.random.default_rng([seed, zlib.crc32("/".join(map(str, purpose)).encode())])


def truncated_normal(
    rng: np.random.Generator, loc: float, scale: float, lower: float, upper: float, size: int
) -> np.ndarray:
    """Draw ``size`` values of N(loc, scale) inside [lower, upper] by rejection."""
    values = np.empty(0)
    while values.size < size:
        draws = rng.normal(loc, scale, 4 * size + 16)
        values = np.concatenate([values, draws[(draws >= lower) & (draws <= upper)]])
    return values[:size]
