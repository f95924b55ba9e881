"""The toolbox's network: its form, its law, and what it can do on it."""

from dataclasses import replace

import pytest
import torch
from lessons import law, lesson

from canopyflow.errors import DataError
from canopyflow.models.baseline import outputs_of
from canopyflow.models.estimators.sl2p import INPUTS, VARIABLES, Networks, Sl2p
from canopyflow.models.simulate import Survey, draw
from canopyflow.vocabulary import BANDS


@pytest.fixture(scope="module")
def made() -> Sl2p:
    # Whatever law the campaign has: this one has other noise and another prior.
    own = law(BANDS, prior="uniform", noise={"additive_independent": 0.05})
    model = Sl2p(own, cases=8000, steps=100)
    model.learn(lesson(own, 2000))
    return model.requires_grad_(False).eval()


def test_each_network_has_eleven_inputs_five_tangents_and_one_linear_output(made: Sl2p) -> None:
    assert made.value.first.shape == made.error.first.shape == (len(VARIABLES), 5, 11)
    assert len(INPUTS) + 3 == 11
    g = torch.Generator().manual_seed(0)
    networks = Networks(11, 2, 5)
    networks.start(g)
    networks.offset.data.normal_(generator=g)
    networks.shift.data.normal_(generator=g)
    x = torch.randn(7, 11, generator=g)
    for i in range(2):
        by_hand = (
            torch.tanh(x @ networks.first[i].T + networks.shift[i]) @ networks.last[i] + networks.offset[i]
        )
        torch.testing.assert_close(networks(x)[:, i], by_hand)
    # Neither blue nor the wide infrared band is looked at.
    seen = made.generative.observe(draw(made.generative, Survey(), 3, 1), g)
    other = seen.reflectance.clone()
    other[:, [BANDS.index("B02"), BANDS.index("B08")]] = 0.9
    changed = replace(seen, reflectance=other)
    assert torch.equal(made.posterior(seen).mean, made.posterior(changed).mean)


def test_it_is_right_on_the_law_of_the_atbd_and_knows_how_right(made: Sl2p) -> None:
    own = law(BANDS)
    sample = draw(own, Survey(), 4000, 5)
    g = torch.Generator().manual_seed(2)
    seen = own.observe(sample, g)
    truth = outputs_of(own, sample, VARIABLES)
    found = made.posterior(seen)
    z = made.outputs(found.draw(200, g).z, seen, VARIABLES)
    error = z.mean(0) - truth
    share = error.square().mean(0) / truth.var(0)
    assert (share < torch.tensor([0.36, 0.09, 0.16, 0.36, 0.5])).all()
    inside = (truth >= z.quantile(0.05, 0)) & (truth <= z.quantile(0.95, 0))
    assert ((inside.float().mean(0) - 0.9).abs() < 0.05).all()
    # Where it says that it errs more, it does.
    wide = found.deviation[:, 0] > found.deviation[:, 0].median()
    assert error[wide, 0].abs().mean() > 2 * error[~wide, 0].abs().mean()


def test_green_area_is_leaf_area_where_no_leaf_is_dead(made: Sl2p) -> None:
    seen = made.generative.observe(draw(made.generative, Survey(), 3, 1))
    z = made.posterior(seen).draw(5, torch.Generator().manual_seed(0)).z
    both = made.outputs(z, seen, ["gai", "lai"])
    assert torch.equal(both[..., 0], both[..., 1])
    assert [quantity.name for quantity in made.estimates] == [*VARIABLES, "gai"]


def test_of_a_campaign_with_fewer_bands_it_takes_those_there_are() -> None:
    assert Sl2p(law(("B03", "B8A", "B02"))).value.first.shape[-1] == 5


def test_a_missing_band_is_refused(made: Sl2p) -> None:
    seen = made.generative.observe(draw(made.generative, Survey(), 2, 1))
    seen.valid[0, BANDS.index("B11")] = False
    with pytest.raises(DataError, match="lacks a band"):
        made.posterior(seen)
    seen.valid[0, BANDS.index("B11")], seen.valid[0, BANDS.index("B02")] = True, False
    made.posterior(seen)
