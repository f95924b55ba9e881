"""Gaussian process regression against the textbook's formulae in numpy, and its silence about left-out
sites."""

import numpy as np
import pytest
import torch
from lessons import labels, law, uniform_pixels
from numpy.typing import NDArray

from canopyflow.errors import DataError
from canopyflow.models.baseline import Lesson
from canopyflow.models.estimators.gpr import _JITTER, LEAST, Gpr, log_evidence
from canopyflow.observations.labels import Labels
from canopyflow.observations.observation import Observation

BANDS = ("B03", "B04", "B8A")
SITES = ("here", "there", "far away")


def truth(seen: Observation) -> torch.Tensor:
    index = (seen.reflectance[:, 2] - seen.reflectance[:, 1]) / (
        seen.reflectance[:, 2] + seen.reflectance[:, 1]
    )
    return 2.5 + 2.0 * index


def taught(n: int = 60, uncertainty: float = torch.nan) -> tuple[Gpr, Labels]:
    seen = uniform_pixels(n, BANDS)
    sites = [SITES[i % 3] for i in range(n)]
    given = labels(seen, {"lai": truth(seen), "fapar": truth(seen) / 6}, sites, uncertainty)
    made = Gpr(law(BANDS), steps=15)
    made.learn(Lesson({}, given))
    return made, given


def by_hand(
    made: Gpr, rows: NDArray[np.bool_], place: int, seen: Observation
) -> tuple[NDArray[np.float64], ...]:
    """Mean and deviation of the root of lai at ``seen``: Rasmussen & Williams, equations 2.25 and 2.26."""
    hyper = made.hyper[
        0 if made.generative.estimates[int(made.variable[rows][0])].name == "lai" else 1, place
    ]
    *lengths, signal, noise = np.exp(hyper.numpy())
    x = made.inputs.numpy()[rows]
    new = ((made._raw(seen) - made.centre) / made.scale).numpy()
    y = made.value.numpy()[rows]
    mean, spread = y.mean(), y.std(ddof=1)

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        steps = (a[:, None] - b[None]) / np.array(lengths)
        return np.asarray(signal**2 * np.exp(-0.5 * (steps**2).sum(-1)))

    known = kernel(x, x) + np.diag(made.variance.numpy()[rows] / spread**2 + noise**2 + _JITTER)
    inverse, between = np.linalg.inv(known), kernel(x, new)
    found = between.T @ inverse @ ((y - mean) / spread)
    variance = signal**2 - np.einsum("in,ij,jn->n", between, inverse, between) + noise**2 + _JITTER
    return mean + spread * found, spread * np.sqrt(variance)


@pytest.mark.parametrize("uncertainty", [torch.nan, 0.3])
def test_it_is_the_closed_form(uncertainty: float) -> None:
    made, given = taught(uncertainty=uncertainty)
    new = uniform_pixels(7, BANDS, seed=9)
    lai = np.array([name == "lai" for name in given.variable])
    mean, deviation = by_hand(made, lai, 0, new)
    roots = made.posterior(new).roots
    column = [quantity.name for quantity in made.estimates].index("lai")
    np.testing.assert_allclose(roots.mean[:, column], mean, rtol=1e-4)
    np.testing.assert_allclose(roots.deviation[:, column], deviation, rtol=5e-3)
    # Without the site, from the rows of the others alone and with hyperparameters of their own.
    rest = lai & np.array([site != "there" for site in given.site])
    mean, deviation = by_hand(made, rest, 1 + made.sites.index("there"), new)
    roots = made.without("there").posterior(new).roots
    np.testing.assert_allclose(roots.mean[:, column], mean, rtol=1e-4)
    np.testing.assert_allclose(roots.deviation[:, column], deviation, rtol=5e-3)


def test_the_evidence_is_that_of_a_normal_distribution() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 2, generator=g).double(), torch.randn(12, generator=g).double()
    label = torch.rand(12, generator=g).double()
    hyper = torch.tensor([0.3, -0.2, 0.1, -0.7]).double()
    scale = hyper[:2].exp()
    steps = ((x[:, None] - x[None]) / scale).square().sum(-1)
    covariance = (2 * hyper[2]).exp() * torch.exp(-0.5 * steps) + torch.diag(label + (2 * hyper[3]).exp())
    exact = torch.distributions.MultivariateNormal(torch.zeros(12).double(), covariance).log_prob(y)
    torch.testing.assert_close(log_evidence(x, y, label, hyper), exact, rtol=1e-6, atol=1e-6)


def test_it_learns_what_spectra_say_and_says_how_well() -> None:
    made, _ = taught(90)
    new = uniform_pixels(300, BANDS, seed=5)
    z = made.posterior(new).draw(400, torch.Generator().manual_seed(0)).z
    lai = made.outputs(z, new, ["lai"])[..., 0]
    assert (lai.mean(0) - truth(new)).square().mean().sqrt() < 0.15 * truth(new).std()
    lower, upper = lai.quantile(0.05, 0), lai.quantile(0.95, 0)
    assert ((truth(new) >= lower) & (truth(new) <= upper)).float().mean() > 0.8
    assert {quantity.name for quantity in made.estimates} == {"lai", "fapar"}


def test_a_site_that_is_left_out_has_no_say() -> None:
    """Whatever was measured there, the others predict the same; and with it they do not."""
    made, given = taught()
    new = uniform_pixels(4, BANDS, seed=9)
    spoiled = given.value.clone()
    spoiled[[site == "there" for site in given.site]] *= 3.0
    other = Gpr(law(BANDS), steps=15)
    other.learn(Lesson({}, Labels(given.seen, given.variable, given.site, spoiled, given.uncertainty)))

    def mean(process: Gpr) -> torch.Tensor:
        return process.posterior(new).roots.mean

    assert torch.equal(mean(made.without("there")), mean(other.without("there")))
    assert not torch.allclose(mean(made), mean(other))
    assert not torch.allclose(mean(made.without("here")), mean(other.without("here")))
    # A site that it never saw needs nothing left out.
    assert made.without("nowhere") is made


def test_an_uncertain_label_counts_less() -> None:
    seen = uniform_pixels(40, BANDS)
    sites = ["here", "there"] * 20
    odd = truth(seen)
    odd[0] = 9.0
    believed, doubted = (labels(seen, {"lai": odd}, sites, 0.01) for _ in range(2))
    doubted.uncertainty[0] = 5.0
    found = []
    for given in (believed, doubted):
        made = Gpr(law(BANDS), steps=15)
        made.learn(Lesson({}, given))
        found.append(float(made.posterior(seen.rows(slice(1))).roots.mean.square()))
    assert abs(found[1] - float(truth(seen)[0])) < abs(found[0] - float(truth(seen)[0]))


def test_of_what_has_too_few_labels_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    seen = uniform_pixels(LEAST - 1, BANDS)
    few = Gpr(law(BANDS))
    few.learn(Lesson({}, labels(seen, {"lai": truth(seen)}, ["here"] * len(seen))))
    assert few.estimates == () and "too-few-labels" in caplog.text
    assert few.posterior(seen).draw(3).z.shape == (3, len(seen), 0)
    with pytest.raises(DataError, match="no labelled spectra"):
        Gpr(law(BANDS)).learn(Lesson({}))
    # Without a site that has most of them, neither; nor of a variable that the law does not know.
    seen = uniform_pixels(30, BANDS)
    sites = ["here"] * (30 - LEAST + 1) + ["there"] * (LEAST - 1)
    made = Gpr(law(BANDS), steps=5)
    made.learn(Lesson({}, labels(seen, {"lai": truth(seen), "biomass": truth(seen)}, sites)))
    assert [quantity.name for quantity in made.estimates] == ["lai"]
    assert made.without("here").estimates == ()
    assert made.without("there").estimates == made.estimates


def test_processes_keep_their_variables_where_another_is_lost() -> None:
    """Chlorophyll was measured at one site alone; without it, leaf area is predicted as before."""
    seen = uniform_pixels(60, BANDS)
    sites = ["here" if i < 30 else "there" for i in range(60)]
    both = labels(seen, {"fapar": truth(seen) / 6, "lai": truth(seen)}, sites)
    rows = [i for i, name in enumerate(both.variable) if name == "fapar" or both.site[i] == "here"]
    made = Gpr(law(BANDS), steps=10)
    made.learn(Lesson({}, both.rows(rows)))
    rest = made.without("here")
    assert [quantity.name for quantity in rest.estimates] == ["fapar"]
    new = uniform_pixels(50, BANDS, seed=4)
    assert (rest.posterior(new).roots.mean[:, 0].square() - truth(new) / 6).abs().mean() < 0.05
