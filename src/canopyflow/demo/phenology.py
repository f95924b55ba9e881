"""What grows: crops, their season, and the canopy variables of every field on a day of the year.

The numbers are plausible for the Swiss plateau rather than fitted. Each stays inside the bounds of the prior
distributions of the S2 toolbox ATBD (Weiss & Baret), including their shrinkage with the leaf area index, so
that a retrieval with those distributions as its prior is not asked for something it holds impossible. Leaves
and soils of the fields also spread about as widely as they say: a narrower landscape would make any honest
interval look too wide.
"""

from dataclasses import dataclass

import numpy as np

from canopyflow.demo.randomness import stream, truncated_normal

LEVELS = 8
"""Vigour classes within a field: few, because each one costs a PROSAIL call per date."""


@dataclass(frozen=True)
class Crop:
    """A crop: share of the fields, day of year and speed (days) of greening and senescence, leaf area.

    ``base`` is the leaf area before the crop (cover crop, weeds, autumn growth),
    ``after`` that of the regrowth on its stubble.
    """

    name: str
    share: float
    rise: float
    rise_days: float
    fall: float
    fall_days: float
    base: float
    peak: float
    after: float
    lidfa: float
    mown: float = 0.0


CROPS = (
    Crop("winter wheat", 0.24, 105, 12, 187, 5, 0.8, 4.6, 0.5, 62),
    Crop("winter barley", 0.10, 97, 11, 171, 5, 0.9, 4.2, 0.5, 57),
    Crop("rapeseed", 0.12, 88, 9, 178, 6, 1.3, 4.3, 0.6, 50),
    Crop("maize", 0.16, 160, 11, 290, 9, 0.55, 4.2, 0.0, 60),
    Crop("sugar beet", 0.12, 146, 11, 300, 9, 0.45, 4.4, 0.0, 46),
    Crop("grassland", 0.16, 88, 12, 400, 9, 1.0, 3.6, 0.0, 55, mown=42.0),
    Crop("forest", 0.04, 117, 5, 300, 9, 0.7, 5.0, 0.0, 50),
    Crop("fallow", 0.06, 140, 20, 400, 9, 0.25, 0.9, 0.0, 52),
)
WATER = len(CROPS)
"""Crop index of the pond: no canopy, a fixed spectrum."""
CROP_NAMES = (*(crop.name for crop in CROPS), "pond")

# (lower, upper) at LAI 0 and at LAI 10, between which the bounds shrink linearly.
_BOUNDS = {
    "N": ((1.2, 1.8), (1.3, 1.8)),
    "cab": ((20.0, 90.0), (45.0, 90.0)),
    "car": ((5.0, 23.0), (5.0, 23.0)),
    "cbrown": ((0.0, 2.0), (0.0, 0.2)),
    "cw": ((0.0075, 0.075), (0.015, 0.055)),
    "cm": ((0.003, 0.011), (0.003, 0.011)),
    "lidfa": ((30.0, 80.0), (55.0, 65.0)),
    "hspot": ((0.02, 0.5), (0.1, 0.5)),
    "psoil": ((0.0, 1.0), (0.0, 1.0)),
    "rsoil": ((0.3, 3.5), (0.5, 1.2)),
}


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function, element by element."""
    return 1 / (1 + np.exp(-x))


@dataclass(frozen=True)
class Canopies:
    """The lasting properties of all fields, each (fields,), and of their vigour levels, (fields, LEVELS)."""

    crop: np.ndarray
    traits: dict[str, np.ndarray]
    soil_texture: np.ndarray
    seed: int

    def variables(self, day: float) -> dict[str, np.ndarray]:
        """The eleven PROSAIL variables on a day of the year, each (fields, LEVELS), physical units."""
        green = 1 - sigmoid((day - (self.traits["fall"] - 9)) / 5)
        wetness = stream(self.seed, "soil moisture", round(day)).uniform(-0.25, 0.25)
        return self.composed(self.leaf_area(day), green, wetness)

    def composed(
        self, leaf_area: np.ndarray, green: np.ndarray, wetness: float | np.ndarray
    ) -> dict[str, np.ndarray]:
        """The eleven variables, each (fields, LEVELS), of fields in a state.

        ``leaf_area``, ``green`` (1 .. 0 with senescence): (fields,); ``wetness`` of the soil's surface, -0.5
        (dry) .. 0.5: one number, or (fields,).
        """
        t = self.traits
        vigour = np.linspace(-1, 1, LEVELS)[None, :]
        lai = leaf_area[:, None] * (1 + 0.28 * vigour)
        cab = (22 + (t["cab"] - 22) * green)[:, None] * (1 + 0.1 * vigour)
        values = {
            "N": np.broadcast_to(t["N"][:, None], lai.shape),
            "cab": cab,
            "car": cab * t["car_per_cab"][:, None] + 1,
            "cbrown": np.broadcast_to((t["cbrown"] + (1 - green) * t["browning"])[:, None], lai.shape),
            "cw": (t["cw"] * (0.45 + 0.55 * green))[:, None] * (1 + 0.08 * vigour),
            "cm": np.broadcast_to(t["cm"][:, None], lai.shape),
            "lai": np.clip(lai, 0.01, 8.0),
            "lidfa": np.broadcast_to(t["lidfa"][:, None], lai.shape),
            "hspot": np.broadcast_to(t["hspot"][:, None], lai.shape),
            "psoil": np.broadcast_to((t["psoil"] - wetness)[:, None], lai.shape),
            "rsoil": t["rsoil"][:, None] * self.soil_texture,
        }
        return {name: _bounded(name, value, values["lai"]) for name, value in values.items()}

    def leaf_area(self, day: float | np.ndarray) -> np.ndarray:
        """Leaf area index of the fields before vigour, (fields,), on a day or each field on its own."""
        t = self.traits
        up = sigmoid((day - t["rise"]) / t["rise_days"])
        down = sigmoid((day - t["fall"]) / t["fall_days"])
        lai = (t["base"] + (t["peak"] - t["base"]) * up) * (1 - down) + t["after"] * down
        # Meadows regrow after each cut, from stubble to full height within the mowing interval.
        since = np.where(t["mown"] > 0, (day - t["first_cut"]) % np.maximum(t["mown"], 1), np.inf)
        regrowth = np.where(day >= t["first_cut"], 0.25 + 0.75 * np.clip(since / 28, 0, 1), 1.0)
        return lai * np.where(t["mown"] > 0, regrowth, 1.0)


def _bounded(name: str, value: np.ndarray, lai: np.ndarray) -> np.ndarray:
    """Clip a variable into its bounds at the given leaf area index."""
    if name == "lai":
        return value
    (low0, high0), (low1, high1) = _BOUNDS[name]
    share = np.clip(lai / 10, 0, 1)
    return np.clip(value, low0 + (low1 - low0) * share, high0 + (high1 - high0) * share)


def draw_canopies(crop: np.ndarray, seed: int) -> Canopies:
    """Give every field of ``crop`` (fields,) its own season, leaves, leaf angle and soil."""
    n = crop.size
    rng = stream(seed, "canopies")
    table = [*CROPS, Crop("pond", 0, 0, 1, 400, 1, 0, 0, 0, 55)]

    def of_crop(attribute: str) -> np.ndarray:
        return np.array([getattr(table[i], attribute) for i in crop], dtype=float)

    shift = rng.normal(0, 6, n)
    amplitude = rng.uniform(0.55, 1.25, n)
    traits = {name: of_crop(name) for name in ("rise_days", "fall_days", "mown")}
    traits |= {
        "rise": of_crop("rise") + shift,
        "fall": of_crop("fall") + shift,
        "base": of_crop("base") * rng.uniform(0.1, 1.9, n),
        "after": of_crop("after") * rng.uniform(0.1, 1.9, n),
        "peak": of_crop("peak") * amplitude,
        "first_cut": rng.uniform(118, 145, n),
        "N": truncated_normal(rng, 1.5, 0.3, 1.2, 1.8, n),
        "cab": truncated_normal(rng, 47, 20, 22, 88, n),
        "car_per_cab": rng.uniform(0.12, 0.3, n),
        "cbrown": np.abs(rng.normal(0, 0.2, n)),
        "browning": rng.uniform(0.2, 1.0, n),
        "cw": truncated_normal(rng, 0.025, 0.015, 0.008, 0.07, n),
        "cm": truncated_normal(rng, 0.005, 0.004, 0.003, 0.011, n),
        "lidfa": np.clip(of_crop("lidfa") + rng.normal(0, 11, n), 32, 78),
        "hspot": rng.uniform(0.03, 0.5, n),
        "psoil": rng.uniform(0.0, 1.0, n),
        "rsoil": truncated_normal(rng, 1.2, 0.7, 0.35, 2.5, n),
    }
    texture = 1 + truncated_normal(rng, 0, 0.12, -0.3, 0.3, n * LEVELS).reshape(n, LEVELS)
    return Canopies(crop, traits, texture, seed)
