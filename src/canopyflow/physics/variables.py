"""The inputs of PROSAIL: the eleven that a posterior is about, those of other options, and what is derived.

Order, bounds and units of the eleven are those of the published PROSAIL-VAE (Zérah, Valero,
Inglada, Remote Sensing of Environment 312, 2024, 114309), which follow the
Sentinel-2 toolbox ATBD (Weiss & Baret, S2ToolBox Level 2 products, 2016/2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class Variable:
    """One physical quantity: ``lower`` and ``upper`` are the bounds inside which it is sought."""

    name: str
    unit: str
    lower: float
    upper: float
    long_name: str


class Derived(NamedTuple):
    """A product variable computed from joint draws of the latent ones."""

    name: str
    unit: str
    long_name: str


VARIABLES: tuple[Variable, ...] = (
    Variable("N", "1", 1.2, 1.8, "leaf structure parameter"),
    Variable("cab", "ug cm-2", 20.0, 90.0, "leaf chlorophyll a+b content"),
    Variable("car", "ug cm-2", 5.0, 23.0, "leaf carotenoid content"),
    Variable("cbrown", "1", 0.0, 2.0, "leaf brown pigment content"),
    Variable("cw", "cm", 0.0075, 0.075, "leaf equivalent water thickness"),
    Variable("cm", "g cm-2", 0.003, 0.011, "leaf dry matter content"),
    Variable("lai", "m2 m-2", 0.0, 10.0, "leaf area index"),
    Variable("lidfa", "degree", 30.0, 80.0, "mean leaf inclination angle"),
    Variable("hspot", "1", 0.01, 0.5, "hot-spot size parameter"),
    Variable("psoil", "1", 0.0, 1.0, "dry-soil fraction"),
    Variable("rsoil", "1", 0.3, 3.5, "soil brightness factor"),
)
"""In the order of every array's last dimension."""

NAMES: tuple[str, ...] = tuple(variable.name for variable in VARIABLES)

# No published sampling law has these three: the bounds are this project's, wide enough for green and for red
# leaves (Féret et al. 2017) and so that protein and the rest add up to the range of `cm` (Féret et al. 2021).
ANTHOCYANINS = Variable("ant", "ug cm-2", 0.0, 20.0, "leaf anthocyanin content")
DRY_MATTER = (
    Variable("prot", "g cm-2", 0.0, 0.003, "leaf protein content"),
    Variable("cbc", "g cm-2", 0.001, 0.010, "leaf content of carbon-based constituents"),
)
# Verhoef 1998. A distribution of angles only where |a| + |b| <= 1.
TWO_PARAMETER = (
    Variable("lidfa", "1", -1.0, 1.0, "leaf inclination parameter a (mean slope)"),
    Variable("lidfb", "1", -1.0, 1.0, "leaf inclination parameter b (bimodality)"),
)

LEAF_MODELS: dict[str, tuple[str, ...]] = {
    "prospect-d": ("cab", "car", "cbrown", "cw", "cm"),
    "prospect-d-ant": ("cab", "car", "ant", "cbrown", "cw", "cm"),
    "prospect-5b": ("cab", "car", "cbrown", "cw", "cm"),
    "prospect-pro": ("cab", "car", "ant", "cbrown", "cw", "prot", "cbc"),
}
"""What absorbs in the leaf, in the order of the variables; "prospect-d" is without anthocyanins."""

LEAF_ANGLES: tuple[str, ...] = ("campbell", "two-parameter")
"""Campbell's ellipsoid of a mean angle, or Verhoef's bimodal law of two parameters."""


def variables_of(leaf: str, leaf_angles: str) -> tuple[Variable, ...]:
    """The inputs of PROSAIL with these options, in order: N, leaf contents, lai, leaf angles, hot spot, soil.

    For "prospect-d" or "prospect-5b" with "campbell" they are :data:`VARIABLES`.
    """
    known = {v.name: v for v in (*VARIABLES, ANTHOCYANINS, *DRY_MATTER)}
    angles = TWO_PARAMETER if leaf_angles == "two-parameter" else (known["lidfa"],)
    contents = [known[name] for name in LEAF_MODELS[leaf]]
    return (known["N"], *contents, known["lai"], *angles, known["hspot"], known["psoil"], known["rsoil"])


DERIVED: tuple[Derived, ...] = (
    Derived("ccc", "ug cm-2", "canopy chlorophyll content per ground area"),
    Derived("cwc", "g cm-2", "canopy water content per ground area"),
)


def derived(variables: Tensor) -> dict[str, Tensor]:
    """Canopy totals of ``variables`` (..., 11): ``ccc`` = lai·cab, ``cwc`` = lai·cw, each (...).

    One centimetre of water weighs 1 g cm⁻², hence the unit of ``cwc``.
    """
    lai = variables[..., NAMES.index("lai")]
    return {
        "ccc": lai * variables[..., NAMES.index("cab")],
        "cwc": lai * variables[..., NAMES.index("cw")],
    }
