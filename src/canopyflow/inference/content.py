"""What a product holds: its statistics and the bits of its flags. Free of torch, for every reader."""

from __future__ import annotations

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
STATISTICS = ("mean", "std", *QUANTILES)
OUTPUTS = ("lai", "cab", "car", "cw", "cm", "N", "lidfa", "ccc", "cwc")
"""Variables of a product unless asked otherwise."""

MASKED, OUT_OF_DOMAIN, INPUT_OUTSIDE_PHYSICS, UNREFINED = 1, 2, 4, 8
FLAGS = {
    "masked": MASKED,
    "out_of_domain": OUT_OF_DOMAIN,
    "input_outside_physics": INPUT_OUTSIDE_PHYSICS,
    "unrefined": UNREFINED,
}
