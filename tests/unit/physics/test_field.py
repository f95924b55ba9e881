"""Pixels of fields: the limits in which they are PROSAIL's, the parts of them, and an independent FAPAR."""

import itertools

import numpy as np
import pytest
import torch

from canopyflow.models.generative.field import FieldPixel
from canopyflow.observations.observation import Given
from canopyflow.physics import Prosail
from canopyflow.physics.bands import spectral_data
from canopyflow.physics.field import BRIGHTNESS, HUE, Fields
from canopyflow.physics.light import Fapar, fcover
from canopyflow.physics.sail import campbell
from canopyflow.physics.soils import LEAST, band_soils, soil_vectors
from canopyflow.vocabulary import BANDS, NAMES

PLATFORMS = ("S2A", "S2C")
ANGLES = torch.tensor([[35.0, 6.0, 100.0], [50.0, 2.0, 20.0], [22.0, 9.0, 170.0]], dtype=torch.float64)
PLATFORM = torch.tensor([0, 1, 0])


def states(n: int = 3, **changed: float) -> dict[str, torch.Tensor]:
    model = FieldPixel(BANDS, PLATFORMS)
    z = model.prior().sample(n, torch.Generator().manual_seed(3)).double()
    state = model.state(z)
    return state | {name: torch.full_like(state["lai"], value) for name, value in changed.items()}


def fields() -> Fields:
    return Fields(PLATFORMS, BANDS).double()


def test_a_green_closed_canopy_over_prosails_soils_is_prosail() -> None:
    state = states(green=1.0, clumping=1.0, cover=1.0, shade=0.0, soil_kind=0.0, soil_brightness=0.5)
    brightness = torch.full_like(state["lai"], 1.0)
    columns = [*(state[name] for name in NAMES[:9]), state["soil_hue"], brightness]
    variables = torch.stack(columns, -1)
    expected = Prosail(PLATFORMS, BANDS, check=False)(variables, ANGLES, PLATFORM)
    torch.testing.assert_close(fields()(state, ANGLES, PLATFORM), expected)
    share = campbell(state["lidfa"])
    torch.testing.assert_close(
        fields().fapar(state, ANGLES[:, 0]), Fapar()(variables.T.contiguous(), share, ANGLES[:, 0])
    )
    torch.testing.assert_close(fields().fcover(state), fcover(state["lai"], share))


def test_dead_leaves_alone_are_a_canopy_of_them() -> None:
    dead = states(green=0.0)
    as_green = dead | {"green": torch.ones(3, dtype=torch.float64), "car": torch.full((3,), 4.0).double()}
    as_green |= {name: dead[f"dead_{name}"] for name in ("N", "cab", "cbrown", "cw", "cm")}
    torch.testing.assert_close(fields()(dead, ANGLES, PLATFORM), fields()(as_green, ANGLES, PLATFORM))
    assert (fields().fapar(dead, ANGLES[:, 0]) == 0).all() and (fields().fcover(dead) == 0).all()
    assert (fields().fapar(as_green, ANGLES[:, 0]) > 0).all()


def test_a_pixel_is_the_mean_of_its_parts() -> None:
    """Its leaf area is that of the area: the covered part holds more of it."""
    whole = states(cover=0.6, contrast=1.1, lai=1.5, shade=0.0)
    covered = whole | {"cover": torch.ones(3).double(), "lai": torch.full((3,), 2.5).double()}
    bare = whole | {"lai": torch.zeros(3).double(), "cover": torch.ones(3).double()}
    see = fields()
    mean = 0.6 * see(covered, ANGLES, PLATFORM) + 0.4 * 1.1 * see(bare, ANGLES, PLATFORM)
    torch.testing.assert_close(see(whole, ANGLES, PLATFORM), mean)
    torch.testing.assert_close(see.fapar(whole, ANGLES[:, 0]), 0.6 * see.fapar(covered, ANGLES[:, 0]))


def test_clumped_leaves_act_as_fewer() -> None:
    clumped, fewer = states(clumping=0.7, lai=3.0), states(clumping=1.0, lai=2.1)
    torch.testing.assert_close(fields()(clumped, ANGLES, PLATFORM), fields()(fewer, ANGLES, PLATFORM))


def test_shade_darkens_all_bands_alike() -> None:
    lit, shaded = (fields()(states(shade=value), ANGLES, PLATFORM) for value in (0.0, 0.3))
    torch.testing.assert_close(shaded, 0.7 * lit)


def test_fapar_is_the_light_that_green_leaves_keep() -> None:
    """Against a Monte-Carlo ray tracer of a turbid canopy, written for this test alone, at one wavelength."""
    rng = np.random.default_rng(0)
    state = {
        name: values[:1]
        for name, values in states(cover=1.0, clumping=1.0, shade=0.0, green=0.6, lai=2.0).items()
    }
    model = fields()
    light = model.light
    green, dead = light.leaf(state["N"], _stack(state, "")), light.leaf(state["dead_N"], _dead(state))
    kept = []
    for node in range(len(light.weights)):
        rho_g, tau_g, rho_d, tau_d = (float(x[node, 0]) for x in (*green, *dead))
        kept.append(
            _traced(rng, 2.0, float(state["lidfa"][0]), 35.0, 0.6, (rho_g, tau_g), (rho_d, tau_d), 0.15)
        )
    traced = float(np.dot(light.weights.numpy(), kept))
    part = state["green"] * (1 - sum(green)) / (1 - 0.6 * sum(green) - 0.4 * sum(dead))
    rho, tau = (0.6 * g + 0.4 * d for g, d in zip(green, dead, strict=True))
    from canopyflow.physics.light import lit

    soil = torch.full_like(rho, 0.15)
    own = light.absorbed(rho, tau, soil, lit(state["lai"], campbell(state["lidfa"]), ANGLES[:1, 0]), part)
    assert float(own[0]) == pytest.approx(traced, abs=0.012)


def _stack(state: dict[str, torch.Tensor], prefix: str) -> torch.Tensor:
    return torch.stack([state[prefix + name] for name in ("cab", "car", "cbrown", "cw", "cm")])


def _dead(state: dict[str, torch.Tensor]) -> torch.Tensor:
    held = [
        state["dead_cab"],
        torch.full_like(state["lai"], 4.0),
        *(state[f"dead_{n}"] for n in ("cbrown", "cw", "cm")),
    ]
    return torch.stack(held)


def _traced(
    rng: np.random.Generator, lai: float, mean_angle: float, sun: float, green: float,
    fresh: tuple[float, float], dry: tuple[float, float], soil: float, photons: int = 40_000,
) -> float:  # fmt: skip
    """Share of photons that green leaves absorb, by following each through layers of leaves."""
    shares = campbell(torch.tensor(mean_angle, dtype=torch.float64)).numpy()
    middles = np.radians((np.arange(18) + 0.5) * 5)
    direction = np.tile([np.sin(np.radians(sun)), 0.0, -np.cos(np.radians(sun))], (photons, 1))
    depth, alive, absorbed = np.zeros(photons), np.ones(photons, bool), 0
    for _ in range(200):
        moving = np.flatnonzero(alive)
        if not len(moving):
            break
        d = direction[moving]
        # Extinction towards each photon's direction: mean projection of leaves, sampled by candidates.
        n = len(moving)
        normal, weight = [], []
        for _ in range(12):
            leaf = rng.choice(middles, n, p=shares)
            around = rng.uniform(0, 2 * np.pi, n)
            v = np.stack([np.sin(leaf) * np.cos(around), np.sin(leaf) * np.sin(around), np.cos(leaf)], 1)
            normal.append(v)
            weight.append(np.abs((v * d).sum(1)))
        normals, weights = np.stack(normal, 1), np.stack(weight, 1)
        cosine = np.abs(d[:, 2])
        projection = _projection(d, middles, shares)
        depth_new = depth[moving] + np.sign(-d[:, 2]) * rng.exponential(1.0, n) * cosine / projection
        up, down = depth_new < 0, depth_new > lai
        alive[moving[up]] = False
        reflected = down & (rng.uniform(size=n) < soil)
        alive[moving[down & ~reflected]] = False
        mu = np.sqrt(rng.uniform(size=n))
        turn = rng.uniform(0, 2 * np.pi, n)
        off = np.stack([np.sqrt(1 - mu**2) * np.cos(turn), np.sqrt(1 - mu**2) * np.sin(turn), mu], 1)
        direction[moving[reflected]], depth[moving[reflected]] = off[reflected], lai
        hit = ~up & ~down
        depth[moving[hit]] = depth_new[hit]
        pick = (weights.cumsum(1) / weights.sum(1, keepdims=True) > rng.uniform(size=(n, 1))).argmax(1)
        chosen = normals[np.arange(n), pick]
        is_green = rng.uniform(size=n) < green
        rho = np.where(is_green, fresh[0], dry[0])
        tau = np.where(is_green, fresh[1], dry[1])
        fate = rng.uniform(size=n)
        gone = hit & (fate > rho + tau)
        absorbed += int((gone & is_green).sum())
        alive[moving[gone]] = False
        stays = hit & ~gone
        # Lambertian off the leaf, on the side it came from if reflected, on the other if transmitted.
        facing = np.where((chosen * d).sum(1, keepdims=True) < 0, chosen, -chosen)
        side = np.where((fate < rho)[:, None], facing, -facing)
        scattered = _about(side, mu, turn)
        direction[moving[stays]] = scattered[stays]
    return absorbed / photons


def _projection(d: np.ndarray, middles: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Mean projection of leaves on the directions ``d`` (n, 3)."""
    around = (np.arange(36) + 0.5) * np.pi / 36
    total = np.zeros(len(d))
    cosine, sine = np.abs(d[:, 2]), np.sqrt(1 - d[:, 2] ** 2)
    for middle, share in zip(middles, shares, strict=True):
        each = np.abs(cosine[:, None] * np.cos(middle) + sine[:, None] * np.sin(middle) * np.cos(around))
        total += share * each.mean(1)
    return total


def _about(axis: np.ndarray, mu: np.ndarray, turn: np.ndarray) -> np.ndarray:
    helper = np.where(np.abs(axis[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(axis, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(axis, first)
    s = np.sqrt(1 - mu**2)
    return mu[:, None] * axis + s[:, None] * (np.cos(turn)[:, None] * first + np.sin(turn)[:, None] * second)


def test_dry_soils_are_sums_of_the_vectors_in_the_bands() -> None:
    soils = band_soils(np.arange(10)).double()
    brightness, hue = (torch.tensor([sum(ends) / 2], dtype=torch.float64) for ends in (BRIGHTNESS, HUE))
    zero = torch.zeros(1, dtype=torch.float64)
    vectors = soil_vectors()
    spectrum = float(brightness) * (vectors[0] + float(hue) * vectors[1])
    expected = spectral_data().response.mean(0) @ spectrum
    np.testing.assert_allclose(
        soils(brightness, hue, zero, zero)[:, 0], np.maximum(expected, LEAST), rtol=1e-6
    )


def test_water_darkens_soils_and_most_in_the_infrared() -> None:
    soils = band_soils(np.arange(10)).double()
    one = torch.ones(1, dtype=torch.float64)
    by_moisture = [soils(0.4 * one, -0.3 * one, 0 * one, m * one)[:, 0] for m in (5.0, 20.0, 35.0, 55.0)]
    for drier, wetter in itertools.pairwise(by_moisture):
        assert (wetter < drier).all()
    ratio = by_moisture[-1] / by_moisture[0]
    assert ratio[-1] < ratio[3] < 1 and ratio[-1] < 0.5


def test_the_model_asks_for_no_more_than_the_law_holds() -> None:
    for name in (
        "dead_leaves",
        "clumping",
        "partly_bare",
        "shadows",
        "many_soils",
        "wide_leaves",
        "smooth_noise",
    ):
        model = FieldPixel(BANDS, PLATFORMS, ingredients={name: False})
        given = Given(geometry=ANGLES.float(), platform=torch.tensor([0, 2, 0]), bands=BANDS)
        sample = model.simulate(given, torch.Generator().manual_seed(0))
        seen = model.observe(sample, torch.Generator().manual_seed(1))
        assert sample.truth is not None and seen.reflectance.isfinite().all()
        names = [variable.name for variable in model.estimates]
        values = dict(zip(names, model.outputs(sample.truth, seen, names).unbind(-1), strict=True))
        assert torch.equal(values["ccc"], values["gai"] * values["cab"])
        assert (values["gai"] <= values["lai"]).all() and (values["lai_eff"] <= values["lai"]).all()
        assert model.log_likelihood(sample.truth, seen).isfinite().all()
