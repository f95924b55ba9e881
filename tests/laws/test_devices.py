"""Everything computes where its weights and inputs lie: held on torch's meta device, which refuses others.

There a kernel that meets tensors of two devices raises an error, as it would on a GPU; values there are none.
"""

import pytest
import torch
from torch import Tensor
from untrained import untrained

from canopyflow.observations.observation import Observation, complete_pixels
from canopyflow.physics import Prosail
from canopyflow.registry import FAMILIES
from canopyflow.vocabulary import BANDS, STATISTICS

META = torch.device("meta")

READS_VALUES = {"bernstein", "mixture", "planar"}
"""Invert by iteration until nothing changes any more, and so need values."""


@pytest.fixture(scope="module")
def seen() -> Observation:
    pixels = complete_pixels(
        torch.zeros(8, len(BANDS)), torch.zeros(8, 3), torch.zeros(8, dtype=torch.long), BANDS
    ).to(META)
    # Whether all is valid is a value, and asked for once.
    pixels.__dict__["complete"] = True
    return pixels


SLOW = {"riemannian"}
"""Third derivatives of the physics: seconds, even without values."""


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in sorted(set(FAMILIES) - READS_VALUES)
    ],
)
def test_draws_and_densities_of_a_family_with_their_gradients(
    family: str, seen: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = untrained(family).to(META).requires_grad_(True)
    monkeypatch.setattr(model, "understood", lambda given: given)
    posterior = model.posterior(seen)
    z, log_q = posterior.rsample_and_log_prob((4,))
    log_joint = posterior.base_log_joint(posterior.prior.to_base(z))
    bound = posterior.log_prob_bound(z.detach())
    fit = model.generative.fit(z, seen)
    found: list[Tensor] = [z, log_q, log_joint, bound, fit]
    assert all(tensor.device == META for tensor in found)
    sum(tensor.sum() for tensor in found).backward()


def test_spectra_of_both_paths() -> None:
    for exact in (False, True):
        model = Prosail(exact=exact, check=False).to(META)
        z, angles = torch.zeros(8, 11, device=META), torch.zeros(8, 3, device=META)
        assert model(z, angles).device == model.spectrum(z, angles).device == META


def test_learned_summaries_and_the_outputs_of_draws(
    seen: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = untrained(summaries={"width": 8}).to(META)
    monkeypatch.setattr(model, "understood", lambda given: given)
    names = [variable.name for variable in model.generative.estimates]
    learned = model.learned(seen, names, STATISTICS)
    draws = model.posterior(seen).rsample((4,))
    outputs = model.generative.outputs(draws, seen, names)
    assert {x.device for x in (learned.stats, learned.fit, learned.trusted, outputs)} == {META}
    assert learned.stats.shape == (len(STATISTICS), len(names), 8) and outputs.shape == (4, 8, len(names))
