"""The variational auto-encoder: physical densities, platforms, names, weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from untrained import ANGLES, SMALL, in_double, three_pixels, untrained

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.observations.observation import pixels
from canopyflow.registry import ENCODERS, OBJECTIVES
from canopyflow.vocabulary import ANGLES as ANGLE_NAMES
from canopyflow.vocabulary import BANDS, PLATFORMS


@pytest.mark.parametrize("family", ["truncated_normal", "nsf"])
def test_samples_are_physical_and_their_density_is_consistent(family: str) -> None:
    model = untrained(family).double()
    q = model.posterior(in_double(three_pixels(untrained(family)).seen))
    z, log_q = q.rsample_and_log_prob((50,))
    assert z.shape == (50, 3, 11) and log_q.shape == (50, 3)
    prior = model.generative.prior()
    u = prior.to_base(z)
    assert ((u >= prior.lower - 1e-6) & (u <= prior.upper + 1e-6)).all()
    torch.testing.assert_close(q.log_prob(z), log_q, rtol=1e-4, atol=1e-3)
    assert q.quantile(torch.tensor([0.1, 0.9])).shape == (2, 3, 11)


def test_physical_density_carries_the_jacobian() -> None:
    """log q(z) = log q(u) - log |dz/du|, the Jacobian taken by autograd."""
    model = untrained().double()
    prior = model.generative.prior()
    q = model.posterior(in_double(three_pixels(untrained()).seen).rows(slice(0, 1)))
    u = q.base.rsample((1,)).reshape(11).detach()
    jacobian = torch.autograd.functional.jacobian(prior.to_physical, u)
    expected = q.base.log_prob(u[None]) - torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(q.log_prob(prior.to_physical(u)[None]), expected, rtol=1e-6, atol=1e-6)


def test_reflectance_angles_and_platform_are_an_observation() -> None:
    model = untrained()
    seen = three_pixels(model).seen
    whole = model.posterior(seen).quantile(0.5)
    assert torch.equal(model.posterior(seen.reflectance, seen.geometry, seen.platform).quantile(0.5), whole)
    with pytest.raises(DataError, match="without angles"):
        model.posterior(seen.reflectance)


def test_bands_are_matched_by_name() -> None:
    model = untrained()
    seen = three_pixels(model).seen
    turned = seen.in_bands(BANDS[::-1])
    assert torch.equal(model.posterior(turned).quantile(0.5), model.posterior(seen).quantile(0.5))
    z = model.posterior(seen).rsample((4,)).detach()
    assert torch.equal(model.fit(z, turned), model.fit(z, seen))
    with pytest.raises(DataError, match="band B12 was not observed"):
        model.posterior(seen.in_bands(BANDS[:-1]))


def test_a_platform_counts_as_everywhere_and_not_as_the_model_lists_it() -> None:
    """The same weights behind the same name, wherever the model has it in its list."""
    one, other = untrained(platforms=("S2A", "S2B")), untrained(platforms=("S2B", "S2A"))
    weights = dict(one.weights())
    first = weights["encoder.first.weight"].clone()
    first[:, -2:] = first[:, -2:].flip(1)
    other.load_weights({**weights, "encoder.first.weight": first})
    seen = three_pixels(one).seen
    torch.testing.assert_close(other.posterior(seen).quantile(0.5), one.posterior(seen).quantile(0.5))
    z = one.posterior(seen).rsample((4,)).detach()
    torch.testing.assert_close(other.fit(z, seen), one.fit(z, seen), rtol=1e-4, atol=1e-4)


def test_without_a_platform_the_first_is_taken_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    model = untrained(platforms=("S2B", "S2A"))
    x = torch.full((3, 10), 0.2)
    by_name = model.posterior(x, ANGLES, "S2B").quantile(0.5)
    assert "default-platform" not in caplog.text
    assert torch.equal(model.posterior(x, ANGLES).quantile(0.5), by_name)
    model.posterior(x, ANGLES)
    assert caplog.text.count("default-platform: no platform given, S2B is taken") == 1
    caplog.clear()
    untrained(platforms=("S2A",)).posterior(x, ANGLES)
    assert not caplog.text


def test_unknown_names_are_refused_with_the_nearest() -> None:
    model = untrained()
    with pytest.raises(DataError, match="S2Z"):
        model.posterior(torch.zeros(1, 10), ANGLES[:1], "S2Z")
    foreign = pixels(torch.zeros(1, 10), ANGLES[:1], torch.tensor([PLATFORMS.index("S2C")]), BANDS)
    with pytest.raises(DataError, match=r"'S2C' is unknown to this model.*S2A, S2B"):
        model.posterior(foreign)
    with pytest.raises(ConfigError, match="did you mean 'elbo'"):
        OBJECTIVES.build("elb")
    with pytest.raises(ConfigError, match="did you mean 'pixel'"):
        ENCODERS.build("pixels", BANDS, ("S2A",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_options": {"widht": 3}}, "'widht' of encoder 'pixel'.*did you mean 'width'"),
        ({"encoder_options": {"bands": 3}}, "'bands' of encoder 'pixel'.*known: blocks, hidden, width"),
        ({"encoder_options": {"name": 3}}, "'name' of encoder 'pixel'"),
        (
            {"family": "nsf", "family_options": {"bin": 4}},
            "'bin' of posterior family 'nsf'.*did you mean 'bins'",
        ),
        ({"family_options": {"dim": 4}}, "'dim' of posterior family 'truncated_normal'"),
        ({"family": "truncated_norm"}, "did you mean 'truncated_normal'"),
        ({"generative": "prosial"}, "generative model 'prosial'.*did you mean 'prosail'"),
        ({"generative_options": {"leav": "x"}}, "'leav' of generative model 'prosail'.*did you mean 'leaf'"),
        ({"learned_prior": "flaw"}, "learned prior 'flaw'.*did you mean 'flow'"),
    ],
)
def test_unknown_options_are_refused_with_the_nearest(changes: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"family": "truncated_normal", "bands": BANDS, "platforms": ("S2A",)}
    with pytest.raises(ConfigError, match=message):
        Amortised(ModelOptions(**options | changes))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    model = untrained()
    weights = dict(model.weights())
    weights.pop("encoder.mean")
    with pytest.raises(DataError, match=r"encoder\.mean"):
        model.load_weights(weights)
    weights["encoder.mean"] = torch.zeros(4)
    with pytest.raises(DataError, match=r"encoder\.mean"):
        model.load_weights(weights)
    save_file(dict(model.weights()), tmp_path / "w.safetensors")
    assert {k.split(".")[0] for k in load_file(tmp_path / "w.safetensors")} == {
        "encoder",
        "family",
        "known_spectra",
    }


def test_numbers_may_come_as_arrays_and_one_triple_of_angles_serves_all() -> None:
    model = untrained()
    x, angles = 0.05 + 0.3 * torch.rand(4, 10, dtype=torch.float64), [35.0, 5.0, 90.0]
    torch.manual_seed(1)
    one = model.posterior(x.float(), torch.tensor(angles).expand(4, 3), "S2A").rsample((3,))
    torch.manual_seed(1)
    other = model.posterior(x.numpy().tolist(), angles, "sentinel-2a").rsample((3,))
    torch.testing.assert_close(one, other)
    with pytest.raises(DataError, match="9 bands"):
        model.posterior(x[:, :9], angles, "S2A")


def test_summaries_are_asked_for_by_numbers_that_are_checked() -> None:
    model = untrained(summaries={"width": 8})
    x, angles = 0.05 + 0.3 * torch.rand(4, 10), torch.tensor([35.0, 5.0, 90.0])
    with pytest.raises(DataError, match="no learned summaries"):
        model.summaries(x, angles, "S2A")
    model.meta = {**model.meta, "summaries": {"passed": True, "fit_trusted": 1e9}}
    found = model.summaries(x, angles, "S2A", names=("gai", "ccc"), statistics=("mean", "q05"))
    assert found.stats.shape == (2, 2, 4) and found.fit.shape == found.trusted.shape == (4,)
    for wrong, given, word in (
        (x * 1e4, angles, "digital numbers"),
        (x * 100, angles, "percent"),
        (x, torch.deg2rad(angles), "radians"),
        (torch.full_like(x, -9999.0), angles, "fill"),
    ):
        with pytest.raises(DataError, match=word):
            model.summaries(wrong, given, "S2A")
        with pytest.raises(DataError, match=word):
            model.posterior(wrong, given, "S2A")


def test_numbers_come_as_they_are_kept() -> None:
    """Frames by their names, masked arrays without what is hidden, platforms by name or number, images."""
    model = untrained(summaries={"width": 8}, encoder_options=SMALL | {"hidden": 0.2})
    model.meta = {**model.meta, "summaries": {"passed": True, "fit_trusted": 1e9}}
    x, angles = (0.05 + 0.3 * torch.rand(4, 10)).numpy(), np.array([[35.0, 5.0, 90.0]] * 4, np.float32)
    wanted = model.summaries(x, angles, ["S2A", "S2B", "S2A", "S2B"]).stats
    turned = pd.DataFrame(x, columns=list(BANDS))[sorted(BANDS, reverse=True)].assign(id=range(4))
    turned_angles = pd.DataFrame(angles, columns=list(ANGLE_NAMES))[sorted(ANGLE_NAMES)]
    for platform in (np.array([0, 1, 0, 1]), torch.tensor([0, 1, 0, 1]), pd.Series(["s2a", "S2B"] * 2)):
        assert torch.equal(model.summaries(turned, turned_angles, platform).stats, wanted)
    image = model.summaries(x.reshape(2, 2, 10), angles.reshape(2, 2, 3), [["S2A", "S2B"]] * 2)
    assert torch.equal(image.stats.flatten(2), wanted) and image.fit.shape == image.trusted.shape == (2, 2)
    one = model.summaries(x[1], angles[1], "S2B").stats
    torch.testing.assert_close(one, wanted[..., 1])
    hidden = x.copy()
    hidden[2, 3] = np.nan
    masked = np.ma.masked_array(x, np.isnan(hidden), fill_value=7.0)
    assert torch.equal(model.summaries(masked, angles, "S2A").fit, model.summaries(hidden, angles, "S2A").fit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"platform": torch.tensor([0, 1, 0, -1])}, "platform '-1' is unknown"),
        ({"platform": 9}, "platform '9' is unknown"),
        ({"platform": [0, None, 0, 1]}, "platform 'None' is unknown"),
        ({"platform": "S2C"}, "'S2C' is unknown to this model.*S2A, S2B"),
        ({"platform": ["S2A", "S2B"]}, r"platforms of shape \(2,\) for reflectance of shape \(4, 10\)"),
        ({"reflectance": 0.3}, "reflectance is one number"),
        ({"reflectance": [[0.1, 0.2], [0.1]]}, "reflectance is no array of numbers"),
        ({"reflectance": [["a"] * 10] * 4}, "reflectance is no array of numbers"),
        ({"reflectance": pd.DataFrame({"B02": [0.1]})}, "reflectance has no column 'B03'"),
        ({"angles": np.zeros((3, 3)) + 35.0}, r"angles of shape \(3, 3\) for reflectance of shape \(4, 10\)"),
        ({"angles": None}, "without angles"),
        ({"names": ["gai", "nix"]}, "'nix' is no variable"),
        ({"names": "gai"}, "'gai' is no list"),
        ({"statistics": ["q10"]}, "'q10' is no statistic"),
    ],
)
def test_what_nobody_can_mean_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    model = untrained(summaries={"width": 8})
    model.meta = {**model.meta, "summaries": {"passed": True, "fit_trusted": 1e9}}
    given: dict[str, Any] = {"reflectance": torch.full((4, 10), 0.2), "angles": [35.0, 5.0, 90.0]}
    with pytest.raises(DataError, match=message):
        model.summaries(**given | {"platform": "S2A"} | change)


def test_a_platform_number_that_is_none_is_not_another_satellite() -> None:
    seen = three_pixels(untrained()).seen
    with pytest.raises(DataError, match="number -1"):
        untrained().posterior(replace(seen, platform=torch.full_like(seen.platform, -1)))
