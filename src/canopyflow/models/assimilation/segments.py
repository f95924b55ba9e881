"""A learned denoiser of segments: for season priors that can be drawn from and have no closed form.

Preconditioned as by Karras, Aittala, Aila & Laine 2022 (arXiv:2206.00364): the network learns what a normal
prior does not explain, in units of what that leaves open. Their normal prior has independent coordinates;
here it is ``season_gp``, which already knows that soil and leaves hardly change. For trajectories that are
normal with that covariance there is nothing to learn.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from canopyflow.atomic import atomic_folder
from canopyflow.errors import DataError
from canopyflow.models.assimilation.denoisers import Denoise, Denoised, Denoiser, Smoother
from canopyflow.models.generative.contract import Generative
from canopyflow.models.priors.seasons.season_gp import SeasonGP

_WEIGHTS, _OPTIONS = "weights.safetensors", "denoiser.json"
_SPAN = 60.0
"""Days that a distance from the middle of a segment is measured in."""
_YEAR = 365.25
_WIDEST = 3.0
"""Largest logarithm of a scale."""
_LEVELS = 4
"""Sines and cosines of the logarithm of the level of noise."""


class SegmentDenoiser(nn.Module, Denoiser):
    """Segments of 2 ``reach`` + 1 dates in order, of the variables of the pixel model ``base``.

    A residual network of ``layers`` of ``width`` reads the noisy segment, what ``season_gp`` makes of it,
    distances of the dates from the middle, their place in the year, and the level of noise. It says where the
    trajectory is, and how many times as wide as by ``season_gp`` it is there: the derivative of a network is
    a covariance only as far as it was learned to be one.
    """

    normal: SeasonGP

    def __init__(self, base: Generative, reach: int = 3, width: int = 256, layers: int = 3) -> None:
        super().__init__()
        self.reach, self.least = reach, 2 * reach + 1
        self.names = base.space.names
        self.options = {"reach": reach, "width": width, "layers": layers}
        self.normal = SeasonGP(base)
        size = self.least * len(self.names)
        self.inward = nn.Linear(2 * size + 5 * self.least + 1 + 2 * _LEVELS, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(layers)
        )
        self.outward = nn.Linear(width, 2 * size)
        # At first the denoiser is that of season_gp.
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def on(self, day: Tensor) -> Denoise:
        smoother, when = Smoother(self.normal, day), _when(day)

        def denoise(x: Tensor, sigma: float) -> Denoised:
            level = torch.full((len(day),), float(sigma), device=day.device)
            return self._denoised(x, level, smoother, when)

        return denoise

    def loss(self, w: Tensor, day: Tensor, sigma: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Of denoised ``w`` + ``sigma`` × ``noise``, in units of what ``season_gp`` leaves open: the mean
        squared error, 1 where it is the law of ``w`` and nothing was learned, and the Gaussian score of the
        scales, which does not train the mean. ``w`` and ``noise`` (n, T, D), ``sigma`` (n,), ``day``
        (n, T)."""
        smoother = Smoother(self.normal, day)
        found = self._denoised(w + sigma[:, None, None] * noise, sigma, smoother, _when(day))
        assert found.scale is not None
        error2 = ((found.mean - w) / smoother.deviation(sigma)).square()
        of_scale = 0.5 * error2.detach() / found.scale.square() + found.scale.log()
        return error2.mean(), of_scale.mean()

    def _denoised(self, x: Tensor, sigma: Tensor, smoother: Smoother, when: Tensor) -> Denoised:
        """``x`` (*sample, n, T, D), ``sigma`` (n,), ``when`` (n, features)."""
        skip = smoother.mean(x, sigma)
        level = (1.0 + sigma.square()).sqrt()[:, None, None]
        place = torch.cat([when, _level(sigma)], -1).to(x)
        place = place.expand(*x.shape[:-2], place.shape[-1])
        h = self.inward(torch.cat([(x / level).flatten(-2), skip.flatten(-2), place], -1))
        for layer in self.layers:
            h = h + layer(h)
        error, scale = self.outward(h).unflatten(-1, (2, *x.shape[-2:])).unbind(-3)
        mean = skip + smoother.deviation(sigma).to(x) * error
        return Denoised(mean, scale.clamp(-_WIDEST, _WIDEST).exp())


def _when(day: Tensor) -> Tensor:
    """What the network is told of ``day`` (n, T): (n, 5 T)."""
    day = day.to(torch.get_default_dtype())
    apart = (day - day[:, day.shape[-1] // 2, None]) / _SPAN
    phase = 2.0 * math.pi * day / _YEAR
    around = [phase.sin(), phase.cos(), (2.0 * phase).sin(), (2.0 * phase).cos()]
    return torch.cat([torch.asinh(apart), *around], -1)


def _level(sigma: Tensor) -> Tensor:
    """Features of levels of noise (n,): (n, 1 + 2 × _LEVELS)."""
    level = sigma.log()[:, None] / 4.0
    angle = level * (math.pi * 2.0 ** torch.arange(-1, _LEVELS - 1, device=sigma.device))
    return torch.cat([level, angle.sin(), angle.cos()], -1)


def write_denoiser(folder: Path, denoiser: SegmentDenoiser) -> None:
    """Write weights and options; the folder appears when both are complete."""
    with atomic_folder(folder) as scratch:
        save_file({k: v.contiguous() for k, v in denoiser.state_dict().items()}, scratch / _WEIGHTS)
        about = {"names": list(denoiser.names), "options": denoiser.options}
        (scratch / _OPTIONS).write_text(json.dumps(about, indent=1) + "\n")


def read_denoiser(folder: Path, base: Generative) -> SegmentDenoiser:
    """What :func:`write_denoiser` wrote. Raises DataError if none is there, or for variables of another pixel
    model."""
    if not (folder / _OPTIONS).is_file():
        raise DataError(f"{folder} holds no denoiser", "write one with write_denoiser")
    about = json.loads((folder / _OPTIONS).read_text())
    if tuple(about["names"]) != base.space.names:
        raise DataError(
            f"the denoiser {folder} is of {', '.join(about['names'])}",
            f"the pixel model has {', '.join(base.space.names)}: train one for it",
        )
    denoiser = SegmentDenoiser(base, **about["options"])
    denoiser.load_state_dict(load_file(folder / _WEIGHTS))
    return denoiser.eval()
