"""A model against the reference posterior, where both are normal and the answers are known."""

import math
from types import SimpleNamespace

import pytest
import torch
from matplotlib.image import imread

from canopyflow.evaluation.against import reference
from canopyflow.evaluation.against.reference import CAB, LAI, against_reference
from canopyflow.evaluation.against.reference_store import Reference
from canopyflow.evaluation.figures import corner
from canopyflow.observations.observation import Sample, pixels
from canopyflow.samplers.contract import Draws
from canopyflow.vocabulary import PLATFORMS

PIXELS, DRAWS, DIM = 4, 300, 11
EVIDENCE = -3.0


class Normal:
    """A posterior N(shift, scale²) in each variable, where N(0, 1) is exact; the evidence is known."""

    bands, meta = ("B02", "B03"), {}

    def __init__(self, shift=0.0, scale=1.0):
        self.shift, self.scale = shift, scale
        self.generative = SimpleNamespace(decode=self._decode)

    def posterior(self, seen):
        # Bands come in the model's order, platforms as the vocabulary counts them.
        seen = seen.in_bands(self.bands)
        assert (seen.reflectance == torch.tensor([2.0, 3.0])).all()
        assert (seen.platform == PLATFORMS.index("S2B")).all()
        constant = 0.5 * math.log(2 * math.pi)

        def draw(shape, generator=None):
            e = torch.randn(*shape, len(seen), DIM, generator=generator)
            return self.shift + self.scale * e, (-0.5 * e**2 - math.log(self.scale) - constant).sum(-1)

        return SimpleNamespace(
            base=SimpleNamespace(rsample_and_log_prob=draw),
            base_log_joint=lambda u: (-0.5 * u**2 - constant).sum(-1) + EVIDENCE,
            prior=SimpleNamespace(to_physical=lambda u: u),
            draw=lambda count, generator=None: Draws(draw((count,), generator)[0]),
        )

    def _decode(self, z, given):
        assert given.bands == self.bands
        return z[..., :2] * torch.tensor([1.0, 2.0])


@pytest.fixture
def scored(monkeypatch):
    """Scores of a model; the last pixel's chains have not converged."""
    g = torch.Generator().manual_seed(5)
    draws = torch.randn(PIXELS, DRAWS, DIM, generator=g)
    draws[-1] += 100.0
    flags = torch.ones(PIXELS)
    seen = pixels(torch.tensor([3.0, 2.0]).expand(PIXELS, 2), torch.zeros(PIXELS, 3), "S2B", ("B03", "B02"))
    sample = Sample(seen, torch.zeros(PIXELS, DIM), torch.zeros(PIXELS, dtype=torch.bool))
    reliable = torch.arange(PIXELS) < PIXELS - 1
    found = Reference(draws, flags, flags, flags, reliable)
    for module in (reference, corner):
        monkeypatch.setattr(module, "load_reference", lambda path: (sample, found))
    return lambda model: against_reference(model, "reference.zarr", seed=0)


def test_an_exact_model_has_the_best_of_all_scores(scored):
    scores = scored(Normal(scale=1.001))
    assert (scores["pixels"], scores["left_out"]) == (PIXELS - 1, 1)
    assert scores["elbo"] == pytest.approx(EVIDENCE, abs=1e-4)
    assert scores["log_evidence"] == pytest.approx(EVIDENCE, abs=1e-4)
    assert scores["efficiency"] == pytest.approx(1.0, abs=1e-4)
    assert scores["k_bad"] == 0
    assert scores["c2st"] == pytest.approx(0.5, abs=0.03)
    assert scores["c2st_refined"] == pytest.approx(0.5, abs=0.03)
    assert scores["kept"] == 1 and math.isnan(scores["c2st_flagged"])
    assert scores["wasserstein"] < 0.13
    assert scores["correlation_error"] < 0.08
    # The mean of a hundred draws of a spectrum whose noise-free value is zero.
    assert scores["reconstruction_B03"] < 0.5
    assert scores["reconstruction_worst"] == max(scores["reconstruction_B02"], scores["reconstruction_B03"])


def test_a_shifted_model_is_seen_and_refinement_mends_it(scored):
    scores = scored(Normal(shift=0.4))
    # KL divergence of a shift by 0.4 in eleven dimensions.
    assert scores["elbo"] == pytest.approx(EVIDENCE - 11 * 0.08, abs=0.1)
    assert scores["log_evidence"] == pytest.approx(EVIDENCE, abs=0.15)
    assert scores["efficiency"] == pytest.approx(math.exp(-11 * 0.16), rel=0.3)
    assert scores["c2st"] > 0.65
    assert scores["kept"] == 1 and scores["c2st_refined"] == pytest.approx(0.5, abs=0.03)


def test_a_model_too_narrow_to_be_refined_is_flagged(scored):
    scores = scored(Normal(scale=0.3))
    assert scores["kept"] == 0 and math.isnan(scores["c2st_refined"])
    assert scores["c2st_flagged"] > 0.6
    assert scores["k_bad"] == 1


def test_a_model_with_a_wrong_dependence_has_its_error(scored, monkeypatch):
    model = Normal()
    plain = model.posterior

    def tied(seen):
        q = plain(seen)
        draw = q.base.rsample_and_log_prob

        def both(shape, generator=None):
            u, log_q = draw(shape, generator)
            u[..., CAB] = u[..., LAI]
            return u, log_q

        q.base.rsample_and_log_prob = both
        return q

    monkeypatch.setattr(model, "posterior", tied)
    assert scored(model)["correlation_error"] == pytest.approx(1.0, abs=0.08)


def test_the_corner_figure_shows_reliable_pixels(scored, tmp_path, monkeypatch):
    monkeypatch.setattr(corner, "load", lambda bundle: Normal(shift=0.5))
    for name in "ab":
        corner.draw_corner(tmp_path, tmp_path, tmp_path / f"{name}.png", model="normal", seed=0)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert imread(tmp_path / "a.png")[..., :3].std() > 0.02
