"""Timing of trajectories whose answers are known."""

import pytest
import torch
from scipy.special import expit

from canopyflow.models.phenology import NAMES, phenology
from canopyflow.vocabulary import SEASONAL

DAYS = torch.arange(0, 365, 5)


def named(lai: torch.Tensor, day: torch.Tensor = DAYS) -> dict[str, float]:
    return dict(zip(NAMES, phenology(lai, day).tolist(), strict=True))


def test_a_triangle() -> None:
    lai = torch.tensor([1.0, 1.0, 5.0, 3.0, 2.0])
    found = named(lai, torch.tensor([0, 100, 200, 250, 300]))
    assert found["season_peak"] == 201
    assert found["season_start"] == pytest.approx(151)
    # Half of the fall from 5 to 2, on the way from 5 at day 200 to 3 at day 250.
    assert found["season_end"] == pytest.approx(1 + 200 + 50 * 1.5 / 2)
    assert found["lai_duration"] == pytest.approx(100 + 300 + 200 + 125)
    assert found["season_speed"] == pytest.approx(120 / (found["season_end"] - found["season_start"]))


def test_a_season_that_runs_twice_as_fast_has_twice_the_speed() -> None:
    day = torch.tensor([0.0, 40.0, 90.0, 120.0, 250.0])
    lai = torch.tensor([0.5, 1.0, 5.0, 3.0, 0.5])
    once, twice = named(lai, day), named(lai, 30 + day / 2)
    assert twice["season_speed"] == pytest.approx(2 * once["season_speed"])
    assert named(lai, day / 100)["season_speed"] == 10.0


def test_a_double_logistic_starts_and_ends_at_its_half_days() -> None:
    rise, fall, base, height = 120.0, 240.0, 0.3, 4.0
    shape = expit((DAYS.numpy() - rise) / 6) - expit((DAYS.numpy() - fall) / 6)
    found = named(torch.from_numpy(base + height * shape).float())
    assert found["season_start"] == pytest.approx(rise + 1, abs=0.5)
    assert found["season_end"] == pytest.approx(fall + 1, abs=0.5)
    assert found["lai_duration"] == pytest.approx(360 * base + height * (fall - rise), rel=1e-3)


def test_of_several_rises_the_last_before_the_peak_counts() -> None:
    lai = torch.tensor([0.0, 2.0, 0.0, 4.0, 0.0, 2.5])
    found = named(lai, torch.tensor([0, 10, 20, 30, 40, 50]))
    assert (found["season_start"], found["season_peak"], found["season_end"]) == (26, 31, 36)


def test_what_never_rises_or_never_falls_ends_at_the_window() -> None:
    day = torch.tensor([10, 20, 30])
    falling, rising, level = (named(torch.tensor(v), day) for v in ([3.0, 2, 1], [1.0, 2, 3], [2.0, 2, 2]))
    assert falling["season_start"] == 11 and falling["season_end"] == pytest.approx(21)
    assert rising["season_start"] == pytest.approx(21) and rising["season_end"] == 31
    assert level["season_start"] == 11 and level["season_end"] == 31


def test_each_draw_is_by_itself_and_each_pixel_has_its_own_days() -> None:
    g = torch.Generator().manual_seed(0)
    lai = 6 * torch.rand(5, 3, 12, generator=g)
    day = torch.rand(3, 12, generator=g).cumsum(-1) * 50
    found = phenology(lai, day)
    assert found.shape == (5, 3, 5)
    for k in range(5):
        for n in range(3):
            torch.testing.assert_close(found[k, n], phenology(lai[k, n], day[n]))
    start, peak, end, duration, speed = found.unbind(-1)
    assert ((speed > 0) & (speed <= 10)).all()
    assert (start <= peak).all() and (peak <= end).all() and (duration > 0).all()
    assert (
        NAMES
        == tuple(v.name for v in SEASONAL)
        == ("season_start", "season_peak", "season_end", "lai_duration", "season_speed")
    )


def test_noise_of_the_last_digits_is_no_season() -> None:
    lai = torch.tensor([2.0, 2.0, 2.0 + 1e-9, 2.0, 2.0], dtype=torch.float64)
    found = named(lai, torch.tensor([10, 20, 30, 40, 50]))
    assert found["season_start"] == 11 and found["season_end"] == 51
