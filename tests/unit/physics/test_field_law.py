"""The field law: what its draws look like, and that density and inverse are exact under every switch."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy import stats

from canopyflow.physics.field_law import FieldLaw, Ingredients
from canopyflow.physics.priors import prior

SWITCHES = [field.name for field in fields(Ingredients)]
LAWS = [Ingredients(), *(Ingredients(**{name: False}) for name in SWITCHES)]
every_law = pytest.mark.parametrize("ingredients", LAWS, ids=["all", *SWITCHES])


def draws(law: FieldLaw, n: int = 50_000) -> dict[str, np.ndarray]:
    z = law.sample(n, torch.Generator().manual_seed(0))
    return dict(zip(law.names, z.T.numpy(), strict=True))


def coordinates(law: FieldLaw, n: int) -> torch.Tensor:
    return torch.rand(n, len(law.names), dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@every_law
def test_physical_coordinates_lead_back(ingredients: Ingredients) -> None:
    law = FieldLaw(ingredients)
    u = coordinates(law, 2000)
    z = law.to_physical(u)
    torch.testing.assert_close(law.to_base(z), u, rtol=0, atol=1e-9)
    assert (law.to_base(z.float()).double() - u).abs().max() < 1e-3
    lower, upper = (torch.tensor([getattr(v, end) for v in law.known]) for end in ("lower", "upper"))
    assert ((z >= lower - 1e-6) & (z <= upper + 1e-6)).all()


@every_law
def test_the_density_is_that_of_the_map(ingredients: Ingredients) -> None:
    law = FieldLaw(ingredients)
    u = coordinates(law, 20)
    jacobian = torch.func.vmap(torch.func.jacrev(law.to_physical))(u)
    log_det = torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(law.log_abs_det(u), log_det)
    torch.testing.assert_close(law.log_prob(law.to_physical(u)), -log_det)
    outside = u.clone()
    outside[:, 3] = 1.01
    assert (law.log_prob_base(outside) == -torch.inf).all() and (law.log_prob_base(u) == 0).all()


def test_each_marginal_is_what_the_recipe_says() -> None:
    """Against the distribution functions of scipy, or those of the mixtures written out."""
    z = draws(FieldLaw(Ingredients()))

    def truncated(loc: float, scale: float, a: float, b: float) -> stats.rv_continuous:
        return stats.truncnorm((a - loc) / scale, (b - loc) / scale, loc, scale)

    def lognormal(median: float, sigma: float, a: float, b: float) -> float:
        log = truncated(np.log(median), sigma, np.log(a), np.log(b))
        return lambda x: log.cdf(np.log(x))

    known = {
        "N": truncated(1.6, 0.35, 1.1, 2.4).cdf,
        "cab": truncated(45, 25, 5, 100).cdf,
        "cm": lognormal(0.005, 0.4, 0.0015, 0.02),
        "lidfa": truncated(57, 15, 20, 82).cdf,
        "hspot": stats.loguniform(0.01, 0.6).cdf,
        "lai": lambda x: 0.13 * np.clip(x / 0.3, 0, 1) + 0.87 * truncated(1.5, 2.7, 0, 9).cdf(x),
        "green": lambda g: (
            0.55 * (1 - np.sqrt(np.clip((1 - g) / 0.15, 0, 1))) + 0.3 * g + 0.15 * np.clip(g / 0.1, 0, 1)
        ),
        "clumping": lambda w: 0.4 * np.clip((w - 0.98) / 0.02, 0, 1) + 0.6 * np.clip((w - 0.75) / 0.25, 0, 1),
        "cover": lambda c: 0.5 * np.clip((c - 0.99) / 0.01, 0, 1) + 0.5 * ((c - 0.3) / 0.7) ** 2,
        "shade": lambda d: 0.6 * np.clip(d / 0.02, 0, 1) + 0.4 * (1 - (1 - d / 0.6) ** 2),
        "dead_cbrown": stats.uniform(0.3, 3.7).cdf,
        "soil_moisture": lambda m: 0.5 * np.clip(m / 5, 0, 1) + 0.5 * np.clip((m - 5) / 50, 0, 1),
    }
    for name, cdf in known.items():
        assert stats.kstest(z[name], cdf).statistic < 0.01, name


def test_carotenoids_follow_chlorophyll_and_water_dry_matter() -> None:
    z = draws(FieldLaw(Ingredients()))
    assert (z["car"] >= 0.12 * z["cab"] - 1e-4).all() and (z["car"] <= 0.32 * z["cab"] + 3 + 1e-4).all()
    share = z["cw"] / (z["cw"] + z["cm"])
    assert (share > 0.6 - 1e-4).all() and (share < 0.87 + 1e-4).all() and z["cw"].max() <= 0.06 + 1e-7
    free = z["cm"] < 0.008
    assert stats.kstest(share[free], stats.uniform(0.6, 0.27).cdf).statistic < 0.01


def test_without_wide_leaves_they_follow_the_toolbox() -> None:
    mine = draws(FieldLaw(Ingredients(wide_leaves=False)))
    theirs = prior("atbd").sample(50_000, torch.Generator().manual_seed(1)).T.numpy()
    for name, column in zip(
        ["N", "cab", "car", "cbrown", "cw", "cm", "lai", "lidfa", "hspot"], theirs, strict=False
    ):
        assert stats.ks_2samp(mine[name], column).statistic < 0.015, name


@every_law
def test_a_switch_takes_its_variables_with_it(ingredients: Ingredients) -> None:
    names = set(FieldLaw(ingredients).names)
    own = {
        "dead_leaves": "green", "clumping": "clumping", "partly_bare": "cover", "shadows": "shade",
        "many_soils": "soil_moisture",
    }  # fmt: skip
    assert {name: variable in names for name, variable in own.items()} == {
        name: getattr(ingredients, name) for name in own
    }
