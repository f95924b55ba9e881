"""The laws have teeth: families with one known defect each break a law that the sound family keeps."""

from __future__ import annotations

from collections.abc import Callable

import family_laws as laws
import pytest
import torch
from torch import Tensor

from canopyflow.posteriors import build
from canopyflow.posteriors.contract import Family

Patch = pytest.MonkeyPatch


def without_constraint(patch: Patch) -> None:
    """Planar layers that fold: several points of noise for one point, each counted as if alone."""
    from canopyflow.posteriors import planar

    sound = planar.PlanarStep.__init__

    def free(self: planar.PlanarStep, u: Tensor, w: Tensor, b: Tensor) -> None:
        sound(self, u, w, b)
        self.u, self.along = u, (u * w).sum(-1)

    patch.setattr(planar.PlanarStep, "__init__", free)


def without_tempering_ratio(patch: Patch) -> None:
    """The cooling of the momentum changes the volume, and nobody counts it."""
    from canopyflow.posteriors._dynamics import DynamicPosterior

    for name in ("flow", "flow_back"):
        sound = getattr(DynamicPosterior, name)

        def uncounted(
            self: DynamicPosterior, y: Tensor, rho: Tensor, sound: Callable[..., tuple[Tensor, ...]] = sound
        ) -> tuple[Tensor, Tensor, Tensor]:
            y, rho, log_det = sound(self, y, rho)
            return y, rho, torch.zeros_like(log_det)

        patch.setattr(DynamicPosterior, name, uncounted)


def without_determinant_of_the_mass(patch: Patch) -> None:
    """The last momentum's density lacks the determinant of a mass that depends on the position."""
    from canopyflow.posteriors._dynamics import DynamicPosterior
    from canopyflow.posteriors._extended import Normal

    class Unnormalised(Normal):
        def log_prob(self, x: Tensor) -> Tensor:
            return super().log_prob(x) + self.log_scale.sum(-1)

    sound = DynamicPosterior._momentum

    def momentum(self: DynamicPosterior, y: Tensor, log_heat: Tensor | float = 0.0) -> Normal:
        normal = sound(self, y, log_heat)
        return normal if isinstance(log_heat, Tensor) else Unnormalised(*normal)

    patch.setattr(DynamicPosterior, "_momentum", momentum)


def deaf(patch: Patch) -> None:
    """A flow whose parameters ignore the pixel."""
    from canopyflow.posteriors.nsf import FAMILY

    sound = FAMILY.forward
    patch.setattr(FAMILY, "forward", lambda self, h, *target: sound(self, torch.zeros_like(h), *target))


def wrong_determinant(patch: Patch) -> None:
    """Nine tenths of each layer's log-determinant, in both directions, so that they agree with each other."""
    from canopyflow.posteriors._coupling import CouplingStep

    for name in ("push", "pull"):
        sound = getattr(CouplingStep, name)

        def short(
            self: CouplingStep, x: Tensor, sound: Callable[..., tuple[Tensor, Tensor]] = sound
        ) -> tuple[Tensor, Tensor]:
            moved, log_det = sound(self, x)
            return moved, 0.9 * log_det

        patch.setattr(CouplingStep, name, short)


def without_reverse_model(patch: Patch) -> None:
    """The joint density of variables and auxiliary ones, passed off as that of the variables."""
    from canopyflow.posteriors.auxiliary import AuxiliaryPosterior

    def joint(self: AuxiliaryPosterior, y: Tensor, generator: torch.Generator | None) -> Tensor:
        guess = self.reversed(y)
        u = guess.transform(self._noise(guess.loc.shape, generator))
        return self.prior.log_prob(u) + self.variables(u).log_prob(y)

    patch.setattr(AuxiliaryPosterior, "_reverse", joint)


@pytest.mark.parametrize(
    ("name", "defect", "law"),
    [
        ("planar", without_constraint, laws.density_of_samples_is_the_one_they_came_with),
        ("hamiltonian", without_tempering_ratio, laws.weights_are_unbiased),
        ("riemannian", without_tempering_ratio, laws.density_integrates_to_one_and_is_that_of_the_samples),
        ("riemannian", without_determinant_of_the_mass, laws.weights_are_unbiased),
        ("nsf", deaf, laws.it_depends_on_the_features),
        ("nsf", wrong_determinant, laws.density_is_the_jacobian_of_the_sampler),
        ("realnvp", wrong_determinant, laws.density_integrates_to_one_and_is_that_of_the_samples),
        ("auxiliary", without_reverse_model, laws.density_integrates_to_one_and_is_that_of_the_samples),
    ],
)
def test_a_defect_breaks_a_law(
    name: str, defect: Callable[[Patch], None], law: laws.Law, monkeypatch: Patch
) -> None:
    def make(dim: int, lower: Tensor, upper: Tensor) -> Family:
        family = build(name, dim, laws.FEATURES, lower, upper)
        # At the start of training, layers bend too little to fold and masses hardly differ from one.
        louder = {"planar": (family, 2.0), "riemannian": (getattr(family, "masses", family), 5.0)}
        part, factor = louder.get(name, (family, 1.0))
        with torch.no_grad():
            for parameter in part.parameters():
                parameter.mul_(factor)
        return family

    law(make)
    defect(monkeypatch)
    with pytest.raises(AssertionError) as broken:
        law(make)
    assert "too few effective draws" not in str(broken.value)
