"""A pixel whose spectrum is linear in its normal scores: posteriors of its seasons have a closed form."""

import math

import torch

from canopyflow.models.generative._spectrum import PixelSpectrum
from canopyflow.models.generative.contract import Space
from canopyflow.observations.observation import Observation, View
from canopyflow.physics.noise import NoiseModel
from canopyflow.vocabulary import PLATFORMS, VARIABLES

NAMES = ("lai", "cab", "rsoil")
BANDS = ("B02", "B03", "B04", "B08")
NOISE = 0.5


class UnitCube:
    """The uniform distribution, in which base and physical coordinates are the same."""

    def __init__(self, dim):
        self.lower, self.upper = torch.zeros(dim), torch.ones(dim)

    def sample(self, n, generator=None):
        return torch.rand(n, len(self.lower), generator=generator)

    def log_prob(self, z):
        return self.log_prob_base(z)

    def log_prob_base(self, u):
        inside = ((u >= 0) & (u <= 1)).all(-1)
        return torch.where(inside, 0.0, -math.inf).to(u)

    def to_physical(self, u):
        return u

    def to_base(self, z):
        return z

    def log_abs_det(self, u):
        return torch.zeros_like(u[..., 0])


class LinearPixel(PixelSpectrum):
    """Reflectance = ``design`` (band, D) times the normal scores; S2B sees them with the opposite sign."""

    def __init__(self, names=NAMES, bands=BANDS, noise=NOISE):
        super().__init__(bands, PLATFORMS, NoiseModel(noise, 0.0, 0.0, 0.0))
        self.law = UnitCube(len(names))
        self.space = Space(names, ("1",) * len(names), self.law.lower, self.law.upper)
        self.estimates = tuple(v for v in VARIABLES if v.name in names)
        g = torch.Generator().manual_seed(3)
        design = torch.randn(len(bands), len(names), generator=g, dtype=torch.float64)
        self.register_buffer("design", design.float(), persistent=False)

    def prior(self, given=None):
        return self.law

    def sign(self, given):
        return torch.where(given.platform == PLATFORMS.index("S2B"), -1.0, 1.0)[..., None]

    def decode(self, z, given):
        return self.sign(given) * (self.to_probit(z) @ self.design.to(z).T)

    def outputs(self, z, given, names):
        column = dict(zip(self.space.names, z.unbind(-1), strict=True))
        return torch.stack([column[name] for name in names], -1)


def season(day, valid=None, bands=BANDS, seed=0, dtype=torch.float64):
    """Seasons on ``day`` (n, T), of all platforms, with reflectance of unit size under every entry."""
    g = torch.Generator().manual_seed(seed)
    n, dates = day.shape
    reflectance = torch.randn(n, dates, len(bands), generator=g, dtype=torch.float64)
    angles = torch.tensor([20.0, 0.0, 0.0]) + torch.tensor([40.0, 10.0, 180.0]) * torch.rand(
        n, dates, 3, generator=g
    )
    return Observation(
        view=View.SEASON,
        reflectance=reflectance.to(dtype),
        valid=torch.ones(n, dates, len(bands), dtype=torch.bool) if valid is None else valid,
        geometry=angles.to(dtype),
        platform=torch.randint(3, (n, dates), generator=g),
        day=day,
        bands=bands,
    )


def trajectories(dynamics, day):
    """Covariance (n, T · D, T · D) in float64 of the normal scores on ``day`` (n, T) under a normal prior."""
    each = dynamics.covariance(day.double())
    alone = torch.eye(each.shape[1], dtype=torch.float64)
    return torch.einsum("nkst,kl->nsktl", each, alone).flatten(3, 4).flatten(1, 2)


def told(base, seen):
    """What seasons of a linear pixel say of their normal scores, in units of its noise: rows (n, T · band,
    T · D) and values (n, T · band) in float64; of what is not valid nothing."""
    slope = seen.valid[..., None] * base.sign(seen).double()[..., None] * base.design.double() / NOISE
    own = torch.eye(slope.shape[1], dtype=torch.float64)
    value = seen.reflectance.double().where(seen.valid, 0.0) / NOISE
    return torch.einsum("ntbk,ts->ntbsk", slope, own).flatten(3, 4).flatten(1, 2), value.flatten(1)


def conditioned(prior, rows, values):
    """Mean (..., m) and covariance (..., m, m) of what is normal around 0 with covariance ``prior``, where
    ``rows`` (..., k, m) times it and white noise are ``values`` (..., k)."""
    apart = torch.eye(rows.shape[-2], dtype=torch.float64) + rows @ prior @ rows.mT
    gain = torch.linalg.solve(apart, rows @ prior).mT
    return (gain @ values[..., None])[..., 0], prior - gain @ rows @ prior


def closed(model, seen):
    """Mean (n, T · D) and covariance (n, T · D, T · D) of the normal scores of seasons of a linear pixel."""
    return conditioned(trajectories(model.dynamics, seen.day), *told(model.base, seen))
