"""The network that knows what spectra the law holds, before anything is learned."""

from dataclasses import replace

import pytest
import torch
from untrained import surveyed, untrained

from canopyflow.models import fused
from canopyflow.models.domain import Domain
from canopyflow.observations.observation import Observation
from canopyflow.vocabulary import BANDS


@pytest.fixture
def seen() -> Observation:
    return surveyed(untrained(), 4100)


@pytest.fixture
def domain(seen: Observation) -> Domain:
    torch.manual_seed(1)
    made = Domain(BANDS)
    made.standardise(seen)
    return made.requires_grad_(False)


def test_nothing_is_outside_before_there_is_a_limit(domain: Domain, seen: Observation) -> None:
    assert not domain.outside(seen).any()
    domain.limits.fill_(-1e9)
    assert domain.outside(seen).all()
    assert domain.outside(seen.rows(slice(0))).shape == (0,)


def test_each_number_of_bands_has_its_limit(domain: Domain, seen: Observation) -> None:
    """Also beyond one piece of the work."""
    order = torch.rand(seen.valid.shape, generator=torch.Generator().manual_seed(0)).argsort(-1)
    count = torch.randint(11, (len(seen), 1), generator=torch.Generator().manual_seed(1))
    some = replace(seen, valid=order < count)
    domain.limits[:] = torch.tensor([-1e9 if n % 3 == 0 else 1e9 for n in range(11)])
    torch.testing.assert_close(domain.outside(some), count[:, 0] % 3 == 0)


def test_what_stands_under_a_missing_band_changes_no_bit(domain: Domain, seen: Observation) -> None:
    valid = seen.valid.clone()
    valid[:, 2::3] = False
    one, two = (
        domain(replace(seen, valid=valid, reflectance=seen.reflectance.where(valid, torch.tensor(value))))
        for value in (0.0, torch.nan)
    )
    assert torch.equal(one, two) and not torch.equal(one, domain(seen))


def test_inputs_are_white_and_far_ones_come_nearer(domain: Domain, seen: Observation) -> None:
    kept: list[torch.Tensor] = []
    domain.body.register_forward_pre_hook(lambda module, given: kept.append(given[0]))
    domain.requires_grad_(True)
    domain(seen)
    far = replace(seen, reflectance=seen.reflectance + 1e3)
    domain(far)
    usual, odd = (inputs[:, :10] for inputs in kept)
    torch.testing.assert_close(torch.cov(usual.T), torch.eye(10), rtol=0, atol=0.12)
    assert usual.mean(0).abs().max() < 0.05 and odd.abs().max() <= 6.0


def test_the_fused_layers_are_the_layers(
    domain: Domain, seen: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = domain(seen)
    monkeypatch.setattr(fused, "_HAS_FUSED", False)
    torch.testing.assert_close(domain(seen), fast, rtol=1e-5, atol=1e-5)
