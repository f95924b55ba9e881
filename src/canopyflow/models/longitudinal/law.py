"""What every law of latent paths is, and the innovations that they share.

A path is z_t = φ_t(y_t; s). The *statics* s belong to the season, φ is invertible in y, and each coordinate
of y forgets at a rate of its own:

    y_t = ρ y_r + σ ε,  ρ = exp(−(t − r)/τ),  ρ² + σ² = 1,  ε ~ N(0, 1).

From one date to another the path therefore goes by f_{r→t} = φ_t ∘ ρ ∘ φ_r⁻¹ and an innovation σ ε. f_{t→t}
is the identity, σ is then 0, and going in two steps is the same as going in one, so that a date that nobody
asks about changes nothing.

Without innovations (ρ = 1) one state decides the whole season: T spectra then narrow its posterior by √T,
whatever the decoder misses, and intervals collapse with the length of the series.
"""

import abc
import math

import torch
from torch import Tensor, nn

LOG_2PI = math.log(2.0 * math.pi)
_SHORTEST, _LONGEST = 15.0, 700.0
"""Days over which the quickest and the slowest coordinate of an untrained law forgets."""


def log_normal(x: Tensor) -> Tensor:
    """Standard normal log density (...) of ``x`` (..., D)."""
    return -0.5 * (x.square() + LOG_2PI).sum(-1)


class PathLaw(nn.Module, abc.ABC):
    """Paths of ``dim`` coordinates with ``statics`` numbers of the season, from day ``origin`` on.

    Shapes: y, z (*sample, n, D); s (*sample, n, statics); day (*sample, n) or (n), days since 1 January;
    further axes of the batch behind n, such as dates, are fine.
    """

    def __init__(self, dim: int, statics: int, origin: float, innovations: bool) -> None:
        super().__init__()
        self.dim, self.statics, self.origin, self.innovations = dim, statics, origin, innovations
        ends = math.log(_SHORTEST), math.log(_LONGEST)
        self.log_memory = nn.Parameter(torch.linspace(*ends, dim), requires_grad=innovations)

    @abc.abstractmethod
    def place(self, y: Tensor, s: Tensor, day: Tensor) -> tuple[Tensor, Tensor]:
        """φ: the path z at ``day``, and log |det ∂z/∂y| (*sample, n)."""

    @abc.abstractmethod
    def lift(self, z: Tensor, s: Tensor, day: Tensor) -> tuple[Tensor, Tensor]:
        """Inverse of :meth:`place`: y, and log |det ∂z/∂y| there."""

    @abc.abstractmethod
    def log_start(self, y: Tensor, s: Tensor) -> Tensor:
        """Log density (*sample, n) of ``y`` at the origin."""

    @abc.abstractmethod
    def start(self, s: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A draw of y (*sample, n, D) at the origin."""

    def log_statics(self, s: Tensor) -> Tensor:
        """Log density (*sample, n) of the statics: standard normal."""
        return log_normal(s)

    def memory(self, gap: Tensor) -> tuple[Tensor, Tensor]:
        """ρ and σ (*batch, D) over ``gap`` (*batch) days, none negative."""
        if not self.innovations:
            one = torch.ones_like(gap)[..., None].expand(*gap.shape, self.dim)
            return one, torch.zeros_like(one)
        elapsed = gap[..., None] / self.log_memory.exp()
        variance = -torch.expm1(-2.0 * elapsed)
        # The root has no derivative at zero: where nothing elapsed, that of one is taken and not used.
        moved = variance > 0.0
        return torch.exp(-elapsed), torch.where(moved, torch.where(moved, variance, 1.0).sqrt(), 0.0)

    def step(self, z: Tensor, s: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """f_{start→end}(z), and log |det ∂f| (*sample, n); ``end`` may be before ``start``: then f⁻¹."""
        y, before = self.lift(z, s, start)
        rho = self.memory((end - start).abs())[0]
        scaled = torch.where((end >= start)[..., None], rho, 1.0 / rho)
        z, after = self.place(scaled * y, s, end)
        return z, after - before + scaled.log().sum(-1)

    def sample(self, day: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Paths (n, T, D) at ``day`` (n, T), which must be in order and not before the origin."""
        like = self.log_memory
        s = torch.randn(len(day), self.statics, generator=generator, dtype=like.dtype, device=like.device)
        y, last, path = self.start(s, generator), torch.full_like(day[:, 0], self.origin), []
        for now in day.unbind(-1):
            rho, spread = self.memory(now - last)
            noise = torch.randn(y.shape, generator=generator, dtype=like.dtype, device=like.device)
            y, last = rho * y + spread * noise, now
            path.append(self.place(y, s, now)[0])
        return torch.stack(path, dim=-2)


def year(day: Tensor, harmonics: int = 2) -> Tensor:
    """Sines and cosines (..., 2·harmonics) of ``day`` (...), of the year and its parts."""
    angle = day[..., None] * (2.0 * math.pi / 365.25) * torch.arange(1, harmonics + 1, device=day.device)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
