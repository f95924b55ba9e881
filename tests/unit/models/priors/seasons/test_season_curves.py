"""The agronomist's season: ranges, cuts, senescence, and what it refuses."""

import pytest
import torch
from linear_pixel import LinearPixel

from canopyflow.errors import ConfigError
from canopyflow.models.priors.seasons import season_curves
from canopyflow.models.priors.seasons.season_curves import RANGES, SeasonCurves
from canopyflow.registry import GENERATIVE
from canopyflow.vocabulary import BANDS, PLATFORMS

DAILY = torch.arange(-30.0, 400.0, dtype=torch.float64)[None]


def physical(pixel, n=600, seed=0):
    """Trajectories on every fifth day: days, and variables by name, physical."""
    base = GENERATIVE.build(pixel, BANDS, PLATFORMS)
    day = DAILY[:, ::5].expand(n, -1)
    w = SeasonCurves(base).sample(day, torch.Generator().manual_seed(seed))
    z = base.prior().to_physical(base.from_scores(w))
    return day[0], dict(zip(base.space.names, z.unbind(-1), strict=True))


def curves(n, seed=0, **ranges):
    base = GENERATIVE.build("prosail", BANDS, PLATFORMS)
    prior = SeasonCurves(base, {name: (v, v) for name, v in ranges.items()})
    return prior.curves(DAILY.expand(n, -1), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("pixel", ["prosail", "field"])
def test_leaf_area_rises_and_falls_within_its_ranges(pixel):
    day, z = physical(pixel)
    lai = z["lai"]
    peak, when = lai.max(-1)
    assert (lai > 0).all() and 0.3 < torch.quantile(peak, 0.02) < torch.quantile(peak, 0.98) < 9.5
    assert 0.02 < lai[:, 0].median() < 1.0 and lai[:, 0].median() < 0.3 * peak.median()
    assert ((day[when] > 60) & (day[when] < 400)).float().mean() > 0.95


@pytest.mark.parametrize("pixel", ["prosail", "field"])
def test_pigments_and_water_fall_as_leaves_turn(pixel):
    day, z = physical(pixel)
    early, late = (day - 60).abs().argmin(), (day - 330).abs().argmin()
    for name in ("cab", "cw"):
        assert z[name][:, late].median() < 0.85 * z[name][:, early].median(), name
    assert z["cbrown"][:, late].mean() > 1.1 * z["cbrown"][:, early].mean()
    if pixel == "field":
        assert z["green"][:, early].median() > 0.9 > 0.75 > z["green"][:, late].median()


def test_a_season_without_cuts_or_regrowth_is_a_double_logistic(monkeypatch):
    monkeypatch.setattr(season_curves, "CUT", 0.0)
    monkeypatch.setattr(season_curves, "REGROWING", 0.0)
    fixed = {"base": 0.5, "peak": 4.0, "rise": 100.0, "rise_days": 8.0, "until_fall": 100.0, "after": 0.2}
    area, turned = curves(3, **fixed, fall_days=6.0, yellow_before=10.0, yellow_days=4.0)
    t = DAILY
    down = torch.sigmoid((t - 200.0) / 6.0)
    expected = (0.5 + 3.5 * torch.sigmoid((t - 100.0) / 8.0)) * (1.0 - down) + 0.2 * down
    torch.testing.assert_close(area, expected.expand(3, -1))
    most = turned.max(-1).values
    assert all(value in (pytest.approx(1.0, abs=1e-6), pytest.approx(0.25, abs=1e-6)) for value in most)
    half = turned / most[:, None]
    assert half[0, (t[0] - 190.0).abs().argmin()] == pytest.approx(0.5, abs=1e-6)


def test_cuts_take_leaf_area_at_once_and_it_grows_back(monkeypatch):
    monkeypatch.setattr(season_curves, "REGROWING", 0.0)
    fixed = {"rise": 80.0, "until_fall": 200.0, "first_cut": 40.0, "between_cuts": 50.0, "stubble": 0.2}
    whole = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr(season_curves, "CUT", share)
        whole[share], _ = curves(200, **fixed, recovery=20.0)
    left = whole[1.0] / whole[0.0]
    day = DAILY[0].tolist()
    assert (left[:, : day.index(119.0)] == 1.0).all()
    assert left[:, day.index(120.0)].max() < 0.35 < 0.99 < left[:, day.index(165.0)].min()
    twice = (left[:, day.index(171.0)] < 0.5).float().mean()
    assert 0.5 < twice < 0.8
    monkeypatch.undo()
    assert season_curves.CUT == 0.25


def test_ranges_can_be_replaced_and_what_is_none_is_refused():
    base = GENERATIVE.build("prosail", BANDS, PLATFORMS)
    w = SeasonCurves(
        base, {"peak": (0.6, 0.7), "base": (0.05, 0.1), "regrowth": (0.0, 0.0), "after": (0.05, 0.1)}
    )
    z = base.from_scores(w.sample(DAILY.expand(50, -1), torch.Generator().manual_seed(0)))
    assert z[..., base.space.names.index("lai")].max() < 1.5
    nothing = ({"peak": 3.0}, {"peak": (1.0, 2.0, 3.0)}, {"rise": (70.0, float("nan"))}, {"rise": "78"})
    kinds = SeasonCurves.TABLES["ranges"]
    assert sorted(name for names in kinds.values() for name in names) == sorted(RANGES)
    too_low = [{name: (0.0, 1.0)} for name in kinds["positive range"]]
    too_low += [{name: (-0.1, 1.0)} for name in kinds["range from 0"]]
    for wrong in ({"paek": (1.0, 2.0)}, {"peak": (2.0, 1.0)}, *nothing, *too_low):
        with pytest.raises(ConfigError, match=rf"season_curves: ranges\.{next(iter(wrong))}: "):
            SeasonCurves(base, wrong)
    with pytest.raises(ConfigError, match="ranges: must be a table"):
        SeasonCurves(base, [1, 2])
    with pytest.raises(ConfigError, match="did you mean 'peak'"):
        SeasonCurves(base, {"paek": (1.0, 2.0)})
    with pytest.raises(ConfigError, match="needs leaf area"):
        SeasonCurves(LinearPixel(names=("cab", "rsoil")))
    assert RANGES["peak"] == (0.5, 7.0)
