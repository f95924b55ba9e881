"""Climatology: the law's own moments, whatever was seen."""

import torch
from lessons import law, lesson

from canopyflow.models.baseline import outputs_of
from canopyflow.models.estimators.climatology import Climatology
from canopyflow.models.simulate import Survey, draw

BANDS = ("B03", "B04", "B8A")


def test_draws_have_the_moments_of_the_law_at_every_pixel() -> None:
    own = law(BANDS)
    made = Climatology(own)
    made.learn(lesson(own, 8000))
    names = ["lai", "ccc", "fapar"]
    # Other states than those it has kept.
    truth = outputs_of(own, draw(own, Survey(), 8000, 77), names)
    seen = own.observe(draw(own, Survey(), 3, 5))
    z = made.posterior(seen).draw(8000, torch.Generator().manual_seed(0)).z
    found = made.outputs(z, seen, names)
    for pixel in range(3):
        error = (found[:, pixel].mean(0) - truth.mean(0)).abs() / truth.std(0)
        assert (error < 0.05).all()
        torch.testing.assert_close(found[:, pixel].std(0), truth.std(0), rtol=0.05, atol=0)
        # Jointly: canopy chlorophyll is high where leaf area is.
        assert torch.corrcoef(found[:, pixel].T)[0, 1] > 0.7
    # Each pixel has draws of its own.
    assert not torch.equal(z[:, 0], z[:, 1])


def test_it_keeps_as_many_entries_as_asked_for() -> None:
    own = law(BANDS)
    made = Climatology(own, entries=50)
    made.learn(lesson(own, 100))
    assert made.table.shape == (50, len(own.estimates))
