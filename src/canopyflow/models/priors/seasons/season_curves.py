"""The agronomist's season: leaf area rises, falls, is cut and grows again; leaves yellow and dry as it falls.

Ranges are wide and know no crops, so that a landscape that was never seen lies within them. Leaf area is a
double logistic, times the exponential of a small Gaussian process; soil, structure of leaves and canopy
change as under ``season_gp``, pigments and water little until they fall with senescence. A single date does
*not* keep the law of the pixel model: a season begins and ends with little leaf area. It can be drawn from,
and has no density.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.generative.contract import Generative
from canopyflow.models.priors.seasons.contract import SeasonPrior
from canopyflow.models.priors.seasons.season_gp import SeasonGP
from canopyflow.options import Table, check_tables

RANGES: dict[str, tuple[float, float]] = {
    "base": (0.05, 2.0),
    "peak": (0.5, 7.0),
    "rise": (70.0, 190.0),
    "rise_days": (4.0, 22.0),
    "until_fall": (40.0, 200.0),
    "fall_days": (4.0, 15.0),
    "after": (0.05, 1.0),
    "regrowth": (0.0, 2.5),
    "until_regrowth": (5.0, 70.0),
    "yellow_before": (-3.0, 20.0),
    "yellow_days": (3.0, 10.0),
    "first_cut": (10.0, 70.0),
    "between_cuts": (28.0, 60.0),
    "stubble": (0.1, 0.5),
    "recovery": (15.0, 45.0),
}
"""Of each season, uniform, in days and m2 m-2: leaf area before the crop (uniform in its logarithm, as is
that ``after`` it), at its peak; day of the steepest rise, days that a logistic takes for it, days from there
to the steepest fall; leaf area that grows again and how long after the fall; how many days before the fall
leaves turn, and within how many; the first cut after the rise, days between cuts, the share of leaf area that
a cut leaves, and the days until it is back."""

IN_LOGARITHM = ("base", "after")
REGROWING, CUT, MOST_CUTS = 0.5, 0.25, 3
"""Share of the seasons that grow again after the fall, and that are cut, one to three times."""

TURNING = 0.75
"""Share of the seasons whose leaves turn before they fall; the others are harvested green or lose them."""

VIGOUR = 0.15
"""Standard deviation of the logarithm of leaf area around its curve."""

LEAF = {"constant": 0.85, "length": 35.0}
"""How pigments and water of leaves change before senescence: constant share of the variance, and days."""

FALLING, BROWNING = ("cab", "car", "cw"), ("cbrown",)
"""What leaves lose and what they gain with senescence, as far as the pixel model has it."""


class SeasonCurves(SeasonPrior):
    """``ranges`` replaces some of :data:`RANGES`. Raises ConfigError for a range of nothing, for one that is
    no range, and for a pixel model without leaf area (``lai``)."""

    # What is divided by, or drawn by its logarithm, is above 0; leaf area and shares are not negative either.
    TABLES: ClassVar[Mapping[str, Table]] = {
        "ranges": {
            "positive range": ("base", "after", "rise_days", "fall_days", "yellow_days", "recovery"),
            "range from 0": ("peak", "regrowth", "stubble"),
            "range": ("rise", "until_fall", "until_regrowth", "yellow_before", "first_cut", "between_cuts"),
        }
    }
    has_density = False

    def __init__(self, base: Generative, ranges: Mapping[str, tuple[float, float]] | None = None) -> None:
        super().__init__(base)
        if "lai" not in self.names:
            raise ConfigError(
                f"season_curves needs leaf area, and {type(base).__name__} has none", "take season_gp"
            )
        check_tables("season_curves", self.TABLES, {"ranges": ranges})
        self.ranges = RANGES | dict(ranges or {})
        # In a tuple: the pixel model is the season's part, not this one's.
        self._base = (base,)
        leaves = [name for name in (*FALLING, *BROWNING, "green") if name in self.names]
        self._process = SeasonGP(base)
        self.slow = SeasonGP(
            base,
            constant=dict.fromkeys(leaves, LEAF["constant"]) | {"lai": 0.0},
            length=dict.fromkeys(leaves, LEAF["length"]),
        )

    def expected(self, day: Tensor) -> Tensor:
        return self._process.expected(day)

    def sample(self, day: Tensor, generator: torch.Generator | None = None) -> Tensor:
        base = self._base[0]
        w = self.slow.sample(day, generator).double()
        days = day.double()
        area, turned = self.curves(days, generator)
        place = {name: i for i, name in enumerate(self.names)}
        area = area * torch.exp(VIGOUR * w[..., place["lai"]])
        lower, upper = (bound.double().to(day.device) for bound in (base.space.lower, base.space.upper))
        share = (base.from_scores(w) - lower) / (upper - lower)
        kept = 1.0 - self._each(days, (0.4, 1.0), generator) * turned
        gained = self._each(days, (0.1, 0.6), generator) * turned
        columns = list(share.unbind(-1))
        for name in FALLING:
            if name in place:
                columns[place[name]] = columns[place[name]] * kept
        for name in BROWNING:
            if name in place:
                columns[place[name]] = columns[place[name]] + (1.0 - columns[place[name]]) * gained
        u = lower + (upper - lower) * torch.stack(columns, -1)
        return base.to_scores(self._with_physical(u, place, area, turned)).to(torch.get_default_dtype())

    def curves(self, day: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Leaf area and the share of it that has turned, each (n, T), on ``day`` (n, T)."""
        of = {name: self._drawn(name, day, generator) for name in self.ranges}
        peak = torch.maximum(of["peak"], 1.2 * of["base"])
        fall = of["rise"] + of["until_fall"]
        up = torch.sigmoid((day - of["rise"]) / of["rise_days"])
        down = torch.sigmoid((day - fall) / of["fall_days"])
        grown = (of["base"] + (peak - of["base"]) * up) * (1.0 - down)
        grown = grown * self._after_cuts(day, of, generator)
        regrows = self._chance(day, REGROWING, generator)
        again = regrows * of["regrowth"] * torch.sigmoid((day - fall - of["until_regrowth"]) / 8.0)
        area = grown + of["after"] * down + again
        turns = torch.where(self._chance(day, TURNING, generator) > 0, 1.0, 0.25)
        turned = turns * torch.sigmoid((day - fall + of["yellow_before"]) / of["yellow_days"])
        # What grows again is green.
        return area, turned * (1.0 - again / area)

    def _after_cuts(self, day: Tensor, of: Mapping[str, Tensor], g: torch.Generator | None) -> Tensor:
        """Share (n, T) of its leaf area that a canopy has after its cuts."""
        is_cut = self._chance(day, CUT, g)
        count = torch.randint(1, MOST_CUTS + 1, (len(day), 1), generator=g, device=day.device)
        left = torch.ones_like(day)
        for cut in range(MOST_CUTS):
            since = day - (of["rise"] + of["first_cut"] + cut * of["between_cuts"])
            back = of["stubble"] + (1.0 - of["stubble"]) * (since / of["recovery"]).clamp(0.0, 1.0)
            happened = (is_cut > 0) & (cut < count) & (since >= 0.0)
            left = torch.where(happened, torch.minimum(left, back), left)
        return left

    def _with_physical(self, u: Tensor, place: Mapping[str, int], area: Tensor, turned: Tensor) -> Tensor:
        """Base coordinates ``u`` (n, T, D) with the leaf area of the curve, and the green share where the
        pixel model has one; all others keep theirs."""
        base = self._base[0]
        prior = base.prior()
        z = list(prior.to_physical(u).unbind(-1))
        most = next(v.upper for v in base.estimates if v.name == "lai")
        z[place["lai"]] = area.clamp(0.01, 0.98 * most)
        changed = ["lai"]
        if "green" in place:
            # Fresh canopies are nearly green, whatever the law of single dates says of dry ones.
            fresh = 1.0 - 0.15 * (1.0 - u[..., place["green"]]).square()
            z[place["green"]] = (fresh * (1.0 - turned)).clamp(0.005, 0.995)
            changed.append("green")
        new, out = prior.to_base(torch.stack(z, -1)), list(u.unbind(-1))
        for name in changed:
            out[place[name]] = new[..., place[name]]
        return torch.stack(out, -1)

    def _each(self, day: Tensor, limits: tuple[float, float], g: torch.Generator | None) -> Tensor:
        """A uniform number (n, 1) for each season."""
        low, high = limits
        unit = torch.rand(len(day), 1, generator=g, dtype=day.dtype, device=day.device)
        return low + (high - low) * unit

    def _drawn(self, name: str, day: Tensor, g: torch.Generator | None) -> Tensor:
        low, high = self.ranges[name]
        unit = self._each(day, (0.0, 1.0), g)
        return low * (high / low) ** unit if name in IN_LOGARITHM else low + (high - low) * unit

    def _chance(self, day: Tensor, share: float, g: torch.Generator | None) -> Tensor:
        """1 in this share of the seasons, else 0, (n, 1)."""
        return (self._each(day, (0.0, 1.0), g) < share).to(day.dtype)


PRIOR = SeasonCurves
