"""What the domain learns, held against odds that are known, and how often it may be wrong."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from untrained import surveyed, untrained

from canopyflow.models.domain import Domain
from canopyflow.models.generative.contract import Generative
from canopyflow.models.simulate import Survey, draw
from canopyflow.observations.observation import Observation, Sample, complete_pixels
from canopyflow.training import domain as learning
from canopyflow.training.domain import FALSE_ALARMS, calibrate, learn_domain
from canopyflow.training.foreign import foreign
from canopyflow.vocabulary import BANDS

N, BANDS_OF_TOY = 20_000, ("B02", "B03")


class Noiseless:
    """A model whose samples are what a sensor reports."""

    def observe(self, sample: Sample, generator: torch.Generator | None = None) -> Observation:
        return sample.seen


def toy(n: int, seed: int) -> Sample:
    """Two bands, normal about 0.3 with a deviation of 0.05, all of one geometry but for a degree."""
    g = torch.Generator().manual_seed(seed)
    x, angles = 0.3 + 0.05 * torch.randn(n, 2, generator=g), 30.0 + torch.rand(n, 3, generator=g)
    seen = complete_pixels(x, angles, torch.zeros(n, dtype=torch.long), BANDS_OF_TOY)
    return Sample(seen, None, torch.zeros(n, dtype=torch.bool))


def learned(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[Tensor, torch.Generator], Tensor], steps: int = 800
) -> Domain:
    monkeypatch.setattr(learning, "foreign", make)
    monkeypatch.setattr(learning, "_STEPS", steps)
    torch.manual_seed(0)
    domain = Domain(BANDS_OF_TOY)
    learn_domain(domain, Noiseless(), toy(N, 0), 0)  # type: ignore[arg-type]
    return domain


def test_log_odds_are_the_ratio_of_the_densities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two normal distributions, one of them moved by a deviation in one band, the ratio is known: also
    where a band is missing, which leaves those of the other one."""
    step = torch.tensor([0.05, 0.0])
    domain = learned(monkeypatch, lambda x, g: x + step)
    seen = toy(4000, 1).seen
    x = (seen.reflectance[:, 0] - 0.3) / 0.05
    assert (domain(seen) - (x - 0.5)).abs().median() < 0.1
    for band, expected in ((0, torch.zeros(4000)), (1, x - 0.5)):
        valid = torch.ones(4000, 2, dtype=torch.bool)
        valid[:, band] = False
        assert (domain(replace(seen, valid=valid)) - expected).abs().median() < 0.1, band


def test_of_the_laws_own_spectra_as_many_are_outside_as_was_aimed_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    domain = learned(monkeypatch, lambda x, g: x + 0.1, 200)
    calibrate(domain, toy(100_000, 2).seen, 0)
    other = toy(100_000, 3).seen
    first = torch.tensor([True, False]).expand(100_000, 2)
    for seen in (other, replace(other, valid=first), replace(other, valid=~first)):
        share = float(domain.outside(seen).float().mean())
        assert share == pytest.approx(FALSE_ALARMS, abs=0.0012)
    moved = replace(other, reflectance=other.reflectance + 0.1)
    # By the ratio of two normal distributions, 2 sqrt(2) deviations apart.
    most_powerful = float(torch.special.ndtr(torch.tensor(8**0.5 - 2.512)))
    assert float(domain.outside(moved).float().mean()) == pytest.approx(most_powerful, abs=0.02)


def test_what_is_below_zero_is_cut_off_in_half_of_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Observation] = []
    forward = Domain.forward

    def watched(self: Domain, seen: Observation) -> Tensor:
        kept.append(seen)
        return forward(self, seen)

    monkeypatch.setattr(Domain, "forward", watched)
    learned(monkeypatch, lambda x, g: x - 0.6, 8)
    some = torch.cat([seen.reflectance[len(seen) // 2 :] for seen in kept])
    assert float((some == 1e-4).all(-1).float().mean()) == pytest.approx(0.5, abs=0.05)
    assert float((some < 0).all(-1).float().mean()) == pytest.approx(0.5, abs=0.05)
    lacking = torch.cat([seen.valid for seen in kept]).logical_not().any(-1)
    # Of those that may lack bands, a third has both: the mean of (1 - s)² for s evenly from 0 to 1.
    assert float(lacking.float().mean()) == pytest.approx(0.4 * 2 / 3, abs=0.04)


def test_the_same_seed_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (learned(monkeypatch, lambda x, g: x + 0.1, 5).state_dict() for _ in range(2))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


@pytest.fixture(scope="module")
def trained() -> tuple[Domain, Generative]:
    """Learned on the ATBD law, quickly."""
    model = untrained().generative
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "_STEPS", 300)
        torch.manual_seed(0)
        domain = Domain(BANDS)
        learn_domain(domain, model, draw(model, Survey(), 8000, 1), 0)
    g = torch.Generator().manual_seed(7)
    calibrate(domain, model.observe(draw(model, Survey(), 4000, 2), g), 0)
    return domain, model


WATER = [0.045, 0.040, 0.025, 0.022, 0.018, 0.017, 0.015, 0.014, 0.008, 0.006]
SNOW = [0.93, 0.92, 0.90, 0.88, 0.83, 0.79, 0.74, 0.69, 0.05, 0.04]
CONCRETE = [0.20, 0.22, 0.24, 0.245, 0.25, 0.255, 0.26, 0.26, 0.28, 0.26]


@pytest.mark.parametrize("spectrum", [WATER, SNOW, CONCRETE])
def test_other_things_than_fields_are_outside(
    trained: tuple[Domain, Generative], spectrum: list[float]
) -> None:
    """Spectra that the training never named, a tenth brighter and darker and with noise."""
    domain, _ = trained
    fields = surveyed(untrained(), 500, seed=4)
    g = torch.Generator().manual_seed(0)
    level = torch.exp(0.1 * torch.randn(500, 1, generator=g))
    noise = 0.005 * torch.randn(500, len(BANDS), generator=g)
    other = replace(fields, reflectance=torch.tensor(spectrum) * level + noise)
    assert domain.outside(other).float().mean() > 0.95
    assert domain.outside(fields).float().mean() < 0.03


def test_an_offset_is_found_in_green_fields(trained: tuple[Domain, Generative]) -> None:
    """Left in, and taken off twice, in a table and as a scene store cuts it off."""
    domain, _ = trained
    fields = surveyed(untrained(), 3000, seed=5)
    x = fields.reflectance
    green = fields.rows((x[:, 7] - x[:, 2]) / (x[:, 7] + x[:, 2]) > 0.8)
    for shifted in (green.reflectance + 0.1, green.reflectance - 0.1, (green.reflectance - 0.1).clamp(1e-4)):
        assert domain.outside(replace(green, reflectance=shifted)).float().mean() > 0.85


def test_foreign_spectra_are_of_all_kinds() -> None:
    """Of one field: moved as a whole, one band alone, brighter than any, and none left as it was."""
    x = surveyed(untrained(), 1).reflectance.expand(4000, -1)
    made = foreign(x, torch.Generator().manual_seed(0))
    moved = made - x
    whole = (moved - moved[:, :1]).abs().amax(-1) < 1e-5
    assert float(whole.float().mean()) == pytest.approx(0.6, abs=0.03)
    assert moved[whole][:, 0].abs().min() >= 0.06 and moved[whole][:, 0].abs().max() <= 0.14
    assert (moved[whole][:, 0] > 0).float().mean() == pytest.approx(0.5, abs=0.07)
    alone = (moved.abs() > 1e-7).sum(-1) == 1
    assert 0.01 < float(alone.float().mean()) < 0.1
    assert float((made.mean(-1) > 0.5).float().mean()) > 0.01 and made.isfinite().all()
    assert (moved.abs().amax(-1) > 0).all()
