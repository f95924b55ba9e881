"""Longitudinal models: masks, order of dates, predictions, folders."""

from dataclasses import replace

import pytest
import torch
from seasons import spoiled
from seasons_seen import BANDS, season

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.generative.prosail import ProsailPixel
from canopyflow.models.longitudinal.model import Longitudinal, LongitudinalOptions, load, save

KINDS = {
    "flow": {},
    "vamp": {"prior": "vamp"},
    "mapping": {"law": "mapping", "posterior": "gaussian"},
    "no innovations": {"innovations": False},
    "no context": {"context": False},
}


def built(seen, kind="flow", pixel=False, **options):
    torch.manual_seed(0)
    given = {"dim": 3, "width": 16, "layers": 2, **KINDS[kind], **options}
    model = Longitudinal(
        LongitudinalOptions(BANDS, **given), ProsailPixel(BANDS, ("S2A", "S2B")) if pixel else None
    )
    model.standardise(seen)
    return model


def seeded():
    return torch.Generator().manual_seed(7)


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_under_invalid_entries_changes_no_bit(kind) -> None:
    seen = season()
    seen.valid[0, 0, 1] = False
    model = built(seen, kind)
    again = built(spoiled(seen, 1e9), kind)
    for one, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    bounds = []
    for given in (seen, spoiled(seen, 1e9)):
        bound = model.elbo(given, 3, seeded())
        model.zero_grad()
        bound.sum().backward()
        bounds.append([bound, *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert all(torch.equal(*pair) for pair in zip(*bounds, strict=True))
    assert torch.equal(*(model.paths(given, 3, seeded()).z.detach() for given in (seen, spoiled(seen, 1e9))))


def test_under_physics_too() -> None:
    seen = season(2, 4)
    model = built(seen, pixel=True)
    bounds = [model.elbo(given, 2, seeded()) for given in (seen, spoiled(seen, 1e9))]
    assert torch.equal(*bounds) and bounds[0].isfinite().all()
    bounds[1].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert model.predict(seen, 3, seeded()).shape == (3, 2, 4, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_dates_does_not_matter(kind) -> None:
    seen = season()
    model = built(seen, kind).requires_grad_(False)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    mixed = seen.each(lambda tensor: tensor[:, order])
    assert torch.allclose(model.elbo(seen, 3, seeded()), model.elbo(mixed, 3, seeded()), rtol=1e-5)
    paths = [model.paths(given, 3, seeded()).z for given in (seen, mixed)]
    assert torch.allclose(paths[0][:, :, order], paths[1], atol=1e-5)
    anchor = torch.zeros(len(seen), dtype=torch.long)
    there = order.argsort()[anchor]
    assert torch.allclose(
        model.evidence(seen, 50, seeded(), anchor), model.evidence(mixed, 50, seeded(), there), rtol=1e-5
    )


def test_a_removed_date_is_a_masked_one_to_the_reader() -> None:
    seen = season(share=1.0)
    seen = replace(seen, day=seen.day.sort(-1).values)
    model = built(seen)
    masked = replace(seen, valid=seen.valid.clone())
    masked.valid[:, 3] = False
    kept = [0, 1, 2, 4, 5, 6]
    removed = seen.each(lambda tensor: tensor[:, kept])
    nodes, whole = model.reader(masked, -60.0)
    fewer, same = model.reader(removed, -60.0)
    assert torch.allclose(nodes[:, [0, *(k + 1 for k in kept)]], fewer, atol=1e-5)
    assert torch.allclose(whole, same, atol=1e-5)


def test_a_season_without_any_observation_has_no_evidence_to_give() -> None:
    seen = season()
    seen.valid[2] = False
    model = built(seen, "vamp")
    assert model.elbo(seen, 2, seeded()).isfinite().all()
    assert model.predict(seen, 2, seeded()).isfinite().all()


def test_the_bound_counts_all_dates_and_divides_by_none() -> None:
    seen = season(2, 6, 1.0)
    model = built(seen).requires_grad_(False)
    z = torch.randn(2, 6, 3)
    each = model.decoder.log_likelihood(z, seen)
    errors = (seen.reflectance - model.decoder(z, seen)) / model.decoder.noise
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(errors) - model.decoder.noise.log()
    assert each.shape == (2, 6) and torch.allclose(each, normal.sum(-1), atol=1e-4)


def test_predictions_hold_the_noise() -> None:
    seen = season(3, 4)
    model = built(seen)
    smooth, noisy = (model.predict(seen, 4000, seeded(), noisy=flag) for flag in (False, True))
    extra = (noisy.var(0) - smooth.var(0)).mean((0, 1)).sqrt()
    assert torch.allclose(extra, model.decoder.noise.detach(), rtol=0.1)


def test_emergence_and_speed_are_draws_of_the_season() -> None:
    seen = season()
    told = built(seen, "mapping").season(seen, 8, seeded())
    assert set(told) == {"emergence", "season_speed"}
    assert all(value.shape == (8, len(seen)) for value in told.values())
    assert (told["season_speed"] > 0).all()
    with pytest.raises(ConfigError, match="no emergence"):
        built(seen).season(seen, 8)


def test_a_saved_model_is_the_same_bit_for_bit(tmp_path) -> None:
    seen = season()
    for kind in ("vamp", "mapping"):
        model = built(seen, kind).eval().requires_grad_(False)
        save(model, tmp_path / kind, {"seed": 1}, [{"step": 1}])
        assert torch.equal(model.predict(seen, 3, seeded()), load(tmp_path / kind).predict(seen, 3, seeded()))
    weights = tmp_path / "vamp" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(DataError, match="copy the whole folder again"):
        load(tmp_path / "vamp")
    with pytest.raises(DataError, match="no longitudinal model"):
        load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="pixel decoder is not saved"):
        save(built(seen, pixel=True), tmp_path / "physics", {})


def test_what_cannot_be_is_refused() -> None:
    seen = season()
    with pytest.raises(DataError, match="before the model's origin"):
        built(seen).elbo(replace(seen, day=seen.day - 200.0))
    with pytest.raises(DataError, match="reads seasons"):
        built(seen).elbo(replace(seen, day=None))
    with pytest.raises(ConfigError, match="no vamp prior"):
        LongitudinalOptions(BANDS, law="mapping", prior="vamp")
    with pytest.raises(ConfigError, match="'spline' of paths is unknown"):
        LongitudinalOptions(BANDS, law="spline")
    with pytest.raises(ConfigError, match="posterior 'maf' of paths"):
        Longitudinal(LongitudinalOptions(BANDS, posterior="maf"))
