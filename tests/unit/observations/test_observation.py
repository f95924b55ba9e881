"""The carrier: rows, pieces and bands of it; what is not finite is not valid; one numbering of platforms."""

from dataclasses import replace

import pytest
import torch

from canopyflow.errors import DataError
from canopyflow.observations.observation import (
    Observation,
    Sample,
    View,
    concatenate,
    pixels,
    platform_index,
)
from canopyflow.vocabulary import PLATFORMS

BANDS = ("B02", "B04", "B08", "B11")
TRAILING = {
    View.PIXEL: (4,),
    View.SEASON: (5, 4),
    View.PATCH: (4, 2, 3),
    View.PATCH_SEASON: (5, 4, 2, 3),
}


def seen(view: View = View.PIXEL, n: int = 7) -> Observation:
    """Every value of every tensor is another."""
    trailing = TRAILING[view]
    dates = trailing[:1] if view in (View.SEASON, View.PATCH_SEASON) else ()
    reflectance = torch.arange(float(n * torch.Size(trailing).numel())).reshape(n, *trailing)
    return Observation(
        reflectance=reflectance,
        valid=reflectance % 3 != 1,
        geometry=torch.arange(float(n * max(1, sum(dates)) * 3)).reshape(n, *dates, 3),
        platform=torch.arange(n * max(1, sum(dates))).reshape(n, *dates),
        bands=BANDS,
        view=view,
        day=torch.arange(n * 5).reshape(n, 5) if dates else None,
        proxies=torch.arange(float(n * max(1, sum(dates)) * 2)).reshape(n, *dates, 2),
    )


def tensors(one: Observation) -> dict[str, torch.Tensor]:
    return {k: v for k, v in vars(one).items() if isinstance(v, torch.Tensor)}


every_view = pytest.mark.parametrize("view", list(View))


@every_view
def test_rows_are_those_of_every_tensor(view: View) -> None:
    whole = seen(view)
    for index in (torch.tensor([5, 0, 5]), slice(2, 4), torch.arange(7) % 2 == 0):
        part = whole.rows(index)
        assert tensors(part).keys() == tensors(whole).keys()
        assert all(torch.equal(value, tensors(whole)[name][index]) for name, value in tensors(part).items())
        assert (part.bands, part.view) == (BANDS, view)
        assert part.batch_shape == (len(part),)


@every_view
def test_pieces_are_the_whole_in_order(view: View) -> None:
    whole = seen(view)
    assert whole.batch_shape == (7,) and len(whole) == 7
    pieces = whole.split(3)
    assert [len(piece) for piece in pieces] == [3, 3, 1]
    for name, value in tensors(whole).items():
        assert torch.equal(torch.cat([tensors(piece)[name] for piece in pieces]), value)


@every_view
def test_bands_are_chosen_and_ordered_by_name(view: View) -> None:
    whole, wanted = seen(view), ("B11", "B02", "B08")
    axis = -3 if view in (View.PATCH, View.PATCH_SEASON) else -1
    chosen = whole.in_bands(wanted)
    assert chosen.bands == wanted
    for name in ("reflectance", "valid"):
        was, now = getattr(whole, name).movedim(axis, 0), getattr(chosen, name).movedim(axis, 0)
        assert now.shape[0] == 3
        assert all(torch.equal(now[i], was[BANDS.index(band)]) for i, band in enumerate(wanted))
    assert torch.equal(chosen.geometry, whole.geometry) and torch.equal(chosen.platform, whole.platform)
    assert whole.in_bands(BANDS) is whole and whole.in_bands(list(BANDS)) is whole
    assert torch.equal(chosen.in_bands(wanted[::-1]).in_bands(wanted).reflectance, chosen.reflectance)


def test_a_band_that_was_not_observed_is_named() -> None:
    with pytest.raises(DataError, match=r"band B12 was not observed.*B02, B04, B08, B11"):
        seen().in_bands(("B02", "B12"))
    with pytest.raises(DataError, match="band B02 was not observed"):
        seen().in_bands(("B04",)).in_bands(("B02",))


def test_complete_is_every_entry_of_what_is_left() -> None:
    whole = replace(seen(), valid=torch.ones(7, 4, dtype=torch.bool))
    assert whole.complete
    valid = whole.valid.clone()
    valid[6, 3] = False
    partly = replace(whole, valid=valid)
    assert not partly.complete
    assert partly.rows(slice(0, 6)).complete and partly.in_bands(BANDS[:3]).complete
    assert [piece.complete for piece in partly.split(3)] == [True, True, False]


def test_what_is_not_finite_is_not_valid_and_never_handed_on() -> None:
    reflectance = torch.tensor([[0.1, float("nan"), 0.3, float("inf")], [0.2, 0.2, -float("inf"), -0.01]])
    one = pixels(reflectance, torch.zeros(2, 3), "S2A", BANDS)
    assert one.reflectance.isfinite().all()
    assert one.valid.tolist() == [[True, False, True, False], [True, True, False, True]]
    assert torch.equal(one.reflectance[one.valid], reflectance[reflectance.isfinite()])
    assert not one.complete and pixels(torch.zeros(2, 4), torch.zeros(2, 3), "S2A", BANDS).complete


def test_platforms_are_numbered_once_for_all() -> None:
    assert PLATFORMS == ("S2A", "S2B", "S2C")
    for index, name in enumerate(PLATFORMS):
        assert platform_index(name) == index
        by_name = pixels(torch.zeros(2, 3, 4), torch.zeros(2, 3, 3), name, BANDS).platform
        assert by_name.shape == (2, 3) and by_name.dtype == torch.long and (by_name == index).all()
    given = torch.tensor([2, 0], dtype=torch.uint8)
    by_index = pixels(torch.zeros(2, 4), torch.zeros(2, 3), given, BANDS).platform
    assert by_index.tolist() == [2, 0] and by_index.dtype == torch.long
    with pytest.raises(DataError, match="'S2D' is unknown"):
        platform_index("S2D")


def test_a_device_changes_all_tensors_and_nothing_else() -> None:
    there = seen(View.SEASON).to(torch.device("meta"))
    assert {value.device.type for value in tensors(there).values()} == {"meta"}
    assert tensors(there).keys() == tensors(seen(View.SEASON)).keys() and there.bands == BANDS


def sample(truth: bool, noise_free: bool, n: int = 7) -> Sample:
    states = torch.arange(float(n * 2)).reshape(n, 2) if truth else None
    return Sample(seen(n=n), states, torch.full((n,), noise_free))


def test_rows_of_a_sample_take_the_truth_along() -> None:
    index = torch.tensor([3, 1])
    part = sample(True, True).rows(index)
    assert part.truth is not None and torch.equal(part.truth, torch.tensor([[6.0, 7.0], [2.0, 3.0]]))
    assert len(part) == 2 and torch.equal(part.seen.reflectance, seen().reflectance[index])
    assert part.to(torch.device("meta")).noise_free.device.type == "meta"
    assert sample(False, False).rows(index).truth is None


def test_samples_one_after_the_other_keep_the_truth_only_if_all_have_it() -> None:
    one, two = sample(True, True), sample(True, False, n=3)
    both = concatenate([one, two])
    assert len(both) == 10 and both.noise_free.tolist() == [True] * 7 + [False] * 3
    assert both.truth is not None and one.truth is not None and two.truth is not None
    assert torch.equal(both.truth, torch.cat([one.truth, two.truth]))
    for name, value in tensors(both.seen).items():
        parts = [tensors(part.seen)[name] for part in (one, two)]
        assert torch.equal(value, torch.cat(parts))
    assert concatenate([one, sample(False, False)]).truth is None
