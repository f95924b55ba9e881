"""The inputs of PROSAIL with each of its options, and what is derived from them."""

from __future__ import annotations

from torch import Tensor

from canopyflow.vocabulary import NAMES, VARIABLES, Variable

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


def derived(variables: Tensor) -> dict[str, Tensor]:
    """Canopy totals of ``variables`` (..., 11): ``ccc`` = lai·cab, ``cwc`` = lai·cw, each (...).

    One centimetre of water weighs 1 g cm⁻², hence the unit of ``cwc``.
    """
    lai = variables[..., NAMES.index("lai")]
    return {
        "ccc": lai * variables[..., NAMES.index("cab")],
        "cwc": lai * variables[..., NAMES.index("cw")],
    }
