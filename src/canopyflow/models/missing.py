"""Bands that were not measured: hidden from a network in training, filled for it in use.

A network needs a number for every band. It gets the mean of the missing bands given the measured ones, under
a normal distribution fitted to the training spectra, and beside it which bands are missing; what it makes of
both is learned from spectra some of whose bands were hidden.
"""

from dataclasses import replace

import torch
from torch import Tensor

from canopyflow.errors import ConfigError, DataError
from canopyflow.observations.observation import Observation


def check_share(share: float, name: str = "hidden") -> None:
    """Raise ConfigError for an option ``name`` of an encoder that is to be a share and is none."""
    if not 0.0 <= share <= 1.0:
        raise ConfigError(f"option {name!r} of the encoder is {share!r}", "a share from 0 to 1")


def hide(
    seen: Observation, share: float, generator: torch.Generator | None = None, lost: int | None = None
) -> Observation:
    """``seen`` (*batch, band) where a random ``share`` of the pixels has lost bands.

    How many is drawn evenly from one to all but one of the valid ones, or is ``lost``, and which evenly among
    these. The reflectance stays where it is: an entry that is not valid matters to nobody.
    """
    *batch, bands = seen.reflectance.shape
    most = (seen.valid.sum(-1, keepdim=True) - 1).clamp_min(0)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=seen.reflectance.device)

    chosen = uniform(*batch, 1) < share
    drawn = (1.0 + uniform(*batch, 1) * most).floor() if lost is None else torch.full_like(most, lost)
    count = torch.minimum(drawn, most)
    # What is missing already comes last.
    rank = uniform(*batch, bands).masked_fill(~seen.valid, 2.0).argsort(-1).argsort(-1)
    return replace(seen, valid=seen.valid & ~(chosen & (rank < count)))


def hide_dates(
    seen: Observation, single: float, least: float, generator: torch.Generator | None = None
) -> Observation:
    """Seasons ``seen`` (n, date, band) of which random dates are no longer observed, and only asked about.

    Of each season a share of the dates is kept that is drawn evenly from ``least`` to 1, each date by its
    own; of a share ``single`` of the seasons only one date is kept.
    """
    n, dates = seen.valid.shape[:2]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=seen.reflectance.device)

    share = least + (1.0 - least) * uniform(n, 1)
    order = uniform(n, dates)
    # A date that is not observed anyhow is no choice for the only one.
    alone = order.masked_fill(~seen.valid.any(-1), -1.0)
    kept = torch.where(uniform(n, 1) < single, alone == alone.amax(-1, keepdim=True), order < share)
    return replace(seen, valid=seen.valid & kept.unsqueeze(-1))


def filled(centred: Tensor, valid: Tensor, precision: Tensor) -> Tensor:
    """Bands less their mean, ``centred`` (*batch, band), with the conditional mean where not ``valid``.

    ``precision`` (band, band): inverse of the covariance of the bands. Given the measured bands o, the
    missing ones m have the mean -P_mm^-1 P_mo x_o (Bishop, Pattern Recognition and Machine Learning, 2006,
    equation 2.75).
    Raises DataError for a pixel without a single valid band.
    """
    whole = valid.all(-1)
    if bool(whole.all()):
        return centred
    if not bool(valid.any(-1).all()):
        raise DataError("a pixel has no valid band at all", "leave out such pixels")
    part = valid[~whole]
    # Few of the thousand patterns occur, and each is solved once.
    weights = 2 ** torch.arange(part.shape[-1], device=part.device)
    codes, which = (part * weights).sum(-1).unique(return_inverse=True)
    patterns = (codes.unsqueeze(-1) & weights) > 0
    operators = _regression(patterns, precision).to(centred.dtype)[which]
    x = torch.where(part, centred[~whole], 0.0)
    out = centred.clone()
    out[~whole] = (operators * x.unsqueeze(-2)).sum(-1)
    return out


def _regression(patterns: Tensor, precision: Tensor) -> Tensor:
    """For each of ``patterns`` (k, band) of valid bands the matrix (k, band, band) that keeps these and adds
    the conditional mean of the others."""
    p = precision.double()
    eye = torch.eye(len(p), dtype=p.dtype, device=p.device)
    missing = (~patterns).to(p.dtype)
    down, across = missing.unsqueeze(-1), missing.unsqueeze(-2)
    # Where a band is valid the system is the identity, so that all patterns have one size.
    among = p * down * across + eye * (1.0 - across)
    towards = -p * down * (1.0 - across) + eye * (1.0 - across)
    return torch.linalg.solve(among, towards)
