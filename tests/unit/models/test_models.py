"""Models: physical densities, mixed platforms, objectives, and the saved bundle."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from canopyflow.errors import ConfigError, DataError
from canopyflow.models import load
from canopyflow.models.bundle import save
from canopyflow.models.encoders import build_encoder, stretch
from canopyflow.models.objectives import objective
from canopyflow.models.retrieval import ModelOptions, RetrievalModel
from canopyflow.models.runtime import resolve_device

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
FAMILIES = ("truncated_normal", "nsf")
ANGLES = torch.tensor([[35.0, 4.0, 100.0], [55.0, 9.0, 20.0], [20.0, 2.0, 170.0]])


def tiny(family: str = "truncated_normal", platforms: tuple[str, ...] = ("S2A", "S2B")) -> RetrievalModel:
    torch.manual_seed(3)
    options = ModelOptions(
        family=family, bands=BANDS, platforms=platforms, encoder_options={"width": 16, "blocks": 1}
    )
    model = RetrievalModel(options)
    model.meta = meta()
    return model


def meta() -> dict[str, object]:
    return {
        "reflectance_range": {"lower": [-0.05] * 10, "upper": [0.7] * 10},
        "angle_range": {"lower": [20.0, 0.0, 0.0], "upper": [65.0, 12.0, 180.0]},
        "fit_threshold": 3.0,
        "training": {"phases": []},
        "data": {},
        "code": {},
        "seed": 3,
    }


def observe(model: RetrievalModel) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three pixels of both platforms: reflectance, platform, truth."""
    g = torch.Generator().manual_seed(0)
    z = model.prior.sample(3, g)
    platform = torch.tensor([0, 1, 0])
    return model.noise.sample(model.decode(z, ANGLES, platform), g), platform, z


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_are_physical_and_their_density_is_consistent(family: str) -> None:
    model = tiny(family).double()
    x, platform, _ = observe(model)
    q = model.posterior(x.double(), ANGLES.double(), platform)
    z, log_q = q.rsample_and_log_prob((50,))
    assert z.shape == (50, 3, 11) and log_q.shape == (50, 3)
    u = model.prior.to_base(z)
    assert ((u >= model.prior.lower - 1e-6) & (u <= model.prior.upper + 1e-6)).all()
    torch.testing.assert_close(q.log_prob(z), log_q, rtol=1e-4, atol=1e-3)
    assert q.quantile(torch.tensor([0.1, 0.9])).shape == (2, 3, 11)


def test_physical_density_carries_the_jacobian() -> None:
    """log q(z) = log q(u) - log |dz/du|, the Jacobian taken by autograd."""
    model = tiny().double()
    x, platform, _ = observe(model)
    q = model.posterior(x[:1].double(), ANGLES[:1].double(), platform[:1])
    u = q.base.rsample((1,)).reshape(11).detach()
    jacobian = torch.autograd.functional.jacobian(lambda v: model.prior.to_physical(v), u)
    z = model.prior.to_physical(u)
    expected = q.base.log_prob(u[None]) - torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(q.log_prob(z[None]), expected, rtol=1e-6, atol=1e-6)


def test_mixed_platforms_decode_as_each_alone() -> None:
    model = tiny()
    _, platform, z = observe(model)
    draws = z.expand(4, 3, 11)
    mixed = model.decode(draws, ANGLES, platform)
    for name, index in (("S2A", 0), ("S2B", 1)):
        rows = platform == index
        torch.testing.assert_close(mixed[:, rows], model.decode(draws[:, rows], ANGLES[rows], name))
        alone = tiny(platforms=(name,)).decode(draws[:, rows], ANGLES[rows], name)
        torch.testing.assert_close(mixed[:, rows], alone, rtol=1e-4, atol=1e-5)
    assert not torch.equal(model.decode(draws, ANGLES, "S2A"), model.decode(draws, ANGLES, "S2B"))


def test_log_joint_is_likelihood_plus_prior() -> None:
    model = tiny()
    x, platform, z = observe(model)
    joint = model.log_joint(z, x, ANGLES, platform)
    likelihood = model.noise.log_prob(x, model.decode(z, ANGLES, platform))
    torch.testing.assert_close(joint, likelihood + model.prior.log_prob(z))


def test_unknown_names_are_refused_with_the_nearest() -> None:
    model = tiny()
    with pytest.raises(DataError, match="S2Z"):
        model.posterior(torch.zeros(1, 10), ANGLES[:1], "S2Z")
    with pytest.raises(ConfigError, match="did you mean 'elbo'"):
        objective("elb")
    with pytest.raises(ConfigError, match="did you mean 'pixel'"):
        build_encoder("pixels", 10, 1, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_options": {"widht": 3}}, "'widht' of encoder 'pixel'.*did you mean 'width'"),
        ({"encoder_options": {"bands": 3}}, "'bands' of encoder 'pixel'.*known: blocks, width"),
        ({"encoder_options": {"name": 3}}, "'name' of encoder 'pixel'"),
        ({"family": "nsf", "family_options": {"bin": 4}}, "'bin' of posterior family 'nsf'.*did you mean 'bins'"),
        ({"family_options": {"dim": 4}}, "'dim' of posterior family 'truncated_normal'"),
        ({"family": "truncated_norm"}, "did you mean 'truncated_normal'"),
    ],
)
def test_unknown_options_are_refused_with_the_nearest(changes: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"family": "truncated_normal", "bands": BANDS, "platforms": ("S2A",)}
    with pytest.raises(ConfigError, match=message):
        RetrievalModel(ModelOptions(**options | changes))


def test_without_a_platform_the_first_is_taken_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny(platforms=("S2B", "S2A"))
    x = torch.full((3, 10), 0.2)
    by_name = model.posterior(x, ANGLES, "S2B").quantile(0.5)
    assert "default-platform" not in caplog.text
    assert torch.equal(model.posterior(x, ANGLES).quantile(0.5), by_name)
    model.posterior(x, ANGLES)
    assert caplog.text.count("default-platform: no platform given, S2B is taken") == 1
    caplog.clear()
    tiny(platforms=("S2A",)).posterior(x, ANGLES)
    assert not caplog.text


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match="'cuda:0' is not there"):
        resolve_device("cuda:0")


def test_the_encoder_sees_bands_whitened() -> None:
    """Unit variance, no correlation, and each whitened band still most alike to itself."""
    model = tiny()
    g = torch.Generator().manual_seed(0)
    z = model.prior.sample(4000, g)
    x = model.noise.sample(model.decode(z, ANGLES[:1].expand(4000, 3), "S2A"), g)
    model.encoder.standardise(x)
    white = (stretch(x) - model.encoder.mean) @ model.encoder.whitening
    torch.testing.assert_close(torch.cov(white.T), torch.eye(10), atol=2e-3, rtol=0.0)
    cross = torch.corrcoef(torch.cat([white, stretch(x)], 1).T)[:10, 10:]
    assert (cross.argmax(1) == torch.arange(10)).all()


def _draws(model: RetrievalModel, x: torch.Tensor, platform: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(5)
    with torch.no_grad():
        return model.posterior(x, ANGLES, platform).rsample((7,))


@pytest.mark.parametrize("family", FAMILIES)
def test_bundle_round_trip_is_bit_identical(family: str, tmp_path: Path) -> None:
    model = tiny(family)
    x, platform, _ = observe(model)
    model.encoder.standardise(torch.rand(50, 10))
    save(model, tmp_path / "seed3", meta(), [{"objective": "elbo", "validation": 1.0}])
    again = load(tmp_path / "seed3")
    assert torch.equal(_draws(model, x, platform), _draws(again, x, platform))
    assert again.meta["family"]["name"] == family and again.bands == BANDS
    save(again, tmp_path / "copy", {k: again.meta[k] for k in meta()})
    for name in ("weights.safetensors", "model.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "seed3" / name).read_bytes()
    assert "lai" in (tmp_path / "seed3" / "card.md").read_text()


def test_bad_bundles_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no model\.json"):
        load(tmp_path)
    good = tmp_path / "good"
    save(tiny(), good, meta())

    def spoiled(name: str) -> Path:
        return Path(shutil.copytree(good, tmp_path / name))

    folder = spoiled("truncated")
    (folder / "weights.safetensors").write_bytes((good / "weights.safetensors").read_bytes()[:-9])
    with pytest.raises(DataError, match="not the file"):
        load(folder)
    folder = spoiled("no weights")
    (folder / "weights.safetensors").unlink()
    with pytest.raises(DataError, match=r"no weights\.safetensors"):
        load(folder)
    folder = spoiled("no json")
    (folder / "model.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        load(folder)
    for change, message in (
        ({"format": "other"}, "does not describe"),
        ({"format_version": 99}, "format version 99"),
        ({"bands": "B02"}, "'bands' is missing or not a list"),
        ({"variables": []}, "0 variables"),
        ({"variables": [{"name": "lai", "unit": "1", "lower": 0, "upper": 3}]}, "trained with"),
        ({"reflectance_range": {"lower": [0.0], "upper": [1.0]}}, "one per band"),
        ({"angle_range": {"lower": [0.0], "upper": [1.0]}}, "one per angle"),
    ):
        folder = spoiled(message.replace(" ", "_"))
        content = json.loads((good / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps(content | change))
        with pytest.raises(DataError, match=message):
            load(folder)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    model = tiny()
    weights = dict(model.weights())
    weights.pop("encoder.mean")
    with pytest.raises(DataError, match=r"encoder\.mean"):
        model.load_weights(weights)
    weights["encoder.mean"] = torch.zeros(4)
    with pytest.raises(DataError, match=r"encoder\.mean"):
        model.load_weights(weights)
    save_file(dict(model.weights()), tmp_path / "w.safetensors")
    assert not any(k.startswith("decoder") for k in load_file(tmp_path / "w.safetensors"))
