"""The encoder of seasons: what is seen is read by all dates, what is only asked about by none."""

import json
from dataclasses import replace

import pytest
import torch
from seasons import clouded, of_dates, some_seasons, spoiled, untrained_seasons

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.encoders._spectra import stretch
from canopyflow.models.encoders.season import Attention, SeasonEncoder
from canopyflow.models.missing import hide_dates
from canopyflow.observations.observation import Observation
from canopyflow.registry import ENCODERS
from canopyflow.vocabulary import BANDS, PLATFORMS


@pytest.fixture(scope="module")
def encoder() -> SeasonEncoder:
    return untrained_seasons().encoder


@pytest.fixture(scope="module")
def seen() -> Observation:
    return some_seasons(untrained_seasons().generative, 4).seen


def differs(one: torch.Tensor, two: torch.Tensor) -> bool:
    """In every season and date, by more than rounding."""
    return bool(((one - two).abs().amax(-1) > 1e-4).all())


def test_every_date_has_features(encoder: SeasonEncoder, seen: Observation) -> None:
    assert encoder(seen).shape == (4, 6, encoder.features)
    twice = seen.each(lambda tensor: tensor.expand(2, *tensor.shape))
    torch.testing.assert_close(encoder(twice)[1], encoder(seen))


@pytest.mark.parametrize("name", ["reflectance", "geometry", "platform", "day", "valid"])
def test_all_of_a_date_is_read_by_every_other(encoder: SeasonEncoder, seen: Observation, name: str) -> None:
    changes = {"reflectance": 0.05, "geometry": 8.0, "day": 9.0, "platform": 1}
    value = getattr(seen, name).clone()
    if name == "valid":
        value[:, 2, 3] = False
    else:
        value[:, 2] = (value[:, 2] + changes[name]) % (2 if name == "platform" else 1e9)
    assert differs(encoder(replace(seen, **{name: value})), encoder(seen))


def test_what_stands_under_an_invalid_entry_changes_no_bit(encoder: SeasonEncoder, seen: Observation) -> None:
    valid = seen.valid.clone()
    valid[:, 1], valid[:, 3, 4], valid[2] = False, False, False
    masked = replace(seen, valid=valid)
    assert torch.equal(encoder(spoiled(masked)), encoder(masked))
    assert encoder(masked).isfinite().all()


def test_a_band_that_is_missing_is_not_one_of_its_usual_value(seen: Observation) -> None:
    """What stands in for a missing band is its mean; that it is missing is told beside it."""
    encoder = untrained_seasons().encoder
    assert isinstance(encoder, SeasonEncoder)
    usual = replace(seen, reflectance=torch.full_like(seen.reflectance, 0.2))
    encoder.mean.copy_(stretch(usual.reflectance[0, 0]))
    valid = seen.valid.clone()
    valid[:, 2, 3] = False
    assert differs(encoder(replace(usual, valid=valid)), encoder(usual))


def test_what_lies_beyond_the_reach_of_attention_is_not_found() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 4).requires_grad_(False)
    attention.log_reach.fill_(-4.0)
    day = torch.tensor([[0.0, 0.0, 30.0]])
    apart, read = (day.unsqueeze(-1) - day.unsqueeze(-2)).abs(), torch.ones(1, 3, dtype=torch.bool)
    h = torch.randn(1, 3, 8)
    here = attention(h, apart, read)
    for changed, found in ((1, True), (2, False)):
        other = h.clone()
        other[0, changed] = torch.randn(8)
        assert torch.equal(attention(other, apart, read)[0, 0], here[0, 0]) is not found
    attention.log_reach.fill_(7.0)
    assert not torch.equal(attention(other, apart, read)[0, 0], attention(h, apart, read)[0, 0])


def test_a_masked_date_is_read_by_nobody(encoder: SeasonEncoder, seen: Observation) -> None:
    others = [0, 2, 3, 5]
    masked = encoder(clouded(seen, [1, 4]))[:, others]
    removed = encoder(of_dates(seen, others))
    torch.testing.assert_close(masked, removed, atol=1e-5, rtol=0)
    assert differs(encoder(seen)[:, others], masked)


def test_the_order_of_acquisitions_changes_nothing(encoder: SeasonEncoder, seen: Observation) -> None:
    order = [3, 0, 5, 1, 4, 2]
    seen = clouded(seen, [2])
    torch.testing.assert_close(encoder(of_dates(seen, order)), encoder(seen)[:, order], atol=1e-5, rtol=0)


def test_a_clouded_date_is_told_by_its_day(encoder: SeasonEncoder, seen: Observation) -> None:
    later = seen.day.clone()
    later[:, 4] += 10.0
    one, two = clouded(seen, [4]), clouded(replace(seen, day=later), [4])
    assert differs(encoder(one)[:, 4:5], encoder(two)[:, 4:5])
    torch.testing.assert_close(encoder(one)[:, :4], encoder(two)[:, :4], atol=1e-5, rtol=0)


def test_where_nothing_was_seen_there_is_a_place_to_look_at(seen: Observation) -> None:
    encoder = untrained_seasons().encoder.requires_grad_()
    assert isinstance(encoder, SeasonEncoder)
    encoder(clouded(seen, list(range(6)))).square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.blocks.parameters())
    assert encoder.blocks[0].attention.nothing.grad.any()


def test_only_an_encoder_trained_on_them_reads_incomplete_dates(seen: Observation) -> None:
    whole: SeasonEncoder = ENCODERS.build("season", BANDS, PLATFORMS, hidden=0.0)
    valid = seen.valid.clone()
    valid[0, 3, 4] = False
    with pytest.raises(DataError, match="lacks some of its bands"):
        whole(replace(seen, valid=valid))
    whole(clouded(seen, [1]))
    thin = whole.thinned(seen, torch.Generator().manual_seed(0)).valid
    assert torch.equal(thin.any(-1), thin.all(-1))


def test_training_keeps_some_dates_of_each_season_and_one_of_a_few(encoder: SeasonEncoder) -> None:
    valid = torch.ones(4000, 20, 2, dtype=torch.bool)
    valid[:, 7] = False
    zeros = torch.zeros(4000, 20, 2)
    seen = Observation(
        reflectance=zeros, valid=valid, geometry=zeros, platform=zeros[..., 0].long(), bands=BANDS[:2]
    )
    kept = hide_dates(seen, 0.25, 0.05, torch.Generator().manual_seed(0)).valid
    assert not kept[:, 7].any()
    assert torch.equal(kept.any(-1), kept.all(-1))
    alone = hide_dates(seen, 1.0, 0.05, torch.Generator().manual_seed(0)).valid
    assert (alone.all(-1).sum(-1) == 1).all()
    counts = kept.all(-1).sum(-1)
    # A quarter by the share; of the others those to whom so few are left.
    assert 0.25 < float((counts == 1).float().mean()) < 0.35
    assert 0.02 < float((counts >= 18).float().mean()) < 0.12
    # One date in all, the mean of 19 dates times .525 otherwise.
    assert abs(float(counts.float().mean()) - (0.25 + 0.75 * 19 * 0.525)) < 0.3


def test_normalisation_is_of_plain_values_and_moves_with_the_weights(
    encoder: SeasonEncoder, seen: Observation
) -> None:
    json.dumps(encoder.normalisation(), allow_nan=False)
    fresh: SeasonEncoder = ENCODERS.build("season", BANDS, PLATFORMS[:2], width=32, layers=2)
    assert fresh.normalisation() != encoder.normalisation()
    fresh.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(fresh.eval()(seen), encoder(seen))


def test_it_is_normalised_on_complete_dates_alone(seen: Observation) -> None:
    fresh: SeasonEncoder = ENCODERS.build("season", BANDS, PLATFORMS)
    fresh.standardise(spoiled(clouded(seen, [1])))
    again: SeasonEncoder = ENCODERS.build("season", BANDS, PLATFORMS)
    again.standardise(of_dates(seen, [0, 2, 3, 4, 5]))
    assert torch.equal(fresh.mean, again.mean) and torch.equal(fresh.whitening, again.whitening)


@pytest.mark.parametrize(("options", "word"), [({"single": 2.0}, "single"), ({"width": 30}, "heads")])
def test_options_that_cannot_be_are_refused(options: dict[str, float], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        ENCODERS.build("season", BANDS, PLATFORMS, **options)
