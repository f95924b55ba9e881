"""What can be measured in a field: symbols, units people write, and values that can be right.

The limits are those of measurements, not the bounds of the model's latent variables: a plot may well lie
outside what the model can express, and then the comparison has to show it.

"Leaf area index" is three quantities, and an instrument sees one of them. Plant area (LAI, PAI) counts dead
leaves and stems: LAI-2200, AccuPAR, photographs from below, harvests of all that stands. Green area (GAI)
counts what is green: photographs from above, harvests sorted by colour. Effective area (LAIe) is what gap
fractions say of randomly placed leaves, before a correction for clumping.
"""

from dataclasses import dataclass, field

_PER_CM2 = {"ug cm-2": 1.0, "mg cm-2": 1e3, "g m-2": 100.0, "mg m-2": 0.1}
_GRAM_PER_CM2 = {"g cm-2": 1.0, "mg cm-2": 1e-3, "g m-2": 1e-4, "kg m-2": 0.1}
_DEPTH = {"cm": 1.0, "mm": 0.1, "m": 100.0}
_NUMBER = {"": 1.0, "1": 1.0, "-": 1.0}


@dataclass(frozen=True)
class Measurand:
    """One variable: how it is written, its unit here, and how values in other units get there.

    ``lower`` and ``upper`` bound every single value; ``largest`` is what the largest of several values must
    reach, which catches a table in g m-2 that says µg cm-2.
    """

    name: str
    symbol: str
    long_name: str
    unit: str
    factors: dict[str, float] = field(repr=False)
    lower: float
    upper: float
    largest: float = 0.0
    basis: str | None = None
    """"leaf" or "ground": per what area; a unit that names the other one is refused."""

    @property
    def label(self) -> str:
        """Symbol and unit, for an axis or a colour bar."""
        return f"{self.symbol} [{self.unit}]" if self.unit else self.symbol


_ALL = (
    Measurand(
        "lai", "LAI", "leaf area index", "m² m⁻²", {**_NUMBER, "m2 m-2": 1.0, "cm2 cm-2": 1.0}, 0.0, 20.0
    ),
    Measurand(
        "gai", "GAI", "green area index", "m² m⁻²", {**_NUMBER, "m2 m-2": 1.0, "cm2 cm-2": 1.0}, 0.0, 20.0
    ),
    Measurand(
        "lai_eff",
        "LAIe",
        "effective leaf area index",
        "m² m⁻²",
        {**_NUMBER, "m2 m-2": 1.0, "cm2 cm-2": 1.0},
        0.0,
        20.0,
    ),
    Measurand("cab", "Cab", "leaf chlorophyll", "µg cm⁻²", _PER_CM2, 0.0, 150.0, 5.0, "leaf"),
    Measurand("ccc", "CCC", "canopy chlorophyll", "µg cm⁻²", _PER_CM2, 0.0, 1500.0, 10.0, "ground"),
    Measurand("car", "Car", "leaf carotenoids", "µg cm⁻²", _PER_CM2, 0.0, 50.0, 1.0, "leaf"),
    Measurand("cw", "Cw", "leaf water", "g cm⁻²", {**_GRAM_PER_CM2, **_DEPTH}, 0.0, 0.15, 0.001, "leaf"),
    Measurand("cm", "Cm", "leaf dry matter", "g cm⁻²", _GRAM_PER_CM2, 0.0, 0.06, 0.0005, "leaf"),
    Measurand("cwc", "CWC", "canopy water", "g cm⁻²", {**_GRAM_PER_CM2, **_DEPTH}, 0.0, 1.5, 0.002, "ground"),
    Measurand("fapar", "FAPAR", "absorbed share of light", "", {**_NUMBER, "%": 0.01}, 0.0, 1.0),
    Measurand("fcover", "FCOVER", "covered share of ground", "", {**_NUMBER, "%": 0.01}, 0.0, 1.0),
    Measurand("senescent", "Senescent", "dead share of plant area", "", {**_NUMBER, "%": 0.01}, 0.0, 1.0),
    Measurand("N", "N", "leaf structure", "", _NUMBER, 1.0, 5.0),
    Measurand(
        "lidfa",
        "Leaf angle",
        "mean leaf inclination",
        "°",
        {"degree": 1.0, "deg": 1.0, "°": 1.0},
        0.0,
        90.0,
        3.0,
    ),
)
MEASURANDS: dict[str, Measurand] = {m.name: m for m in _ALL}
"""By the name used in products."""

_WORDS: dict[str, tuple[str, ...]] = {
    "lai": ("pai", "leaf area index", "plant area index", "total lai", "lai total"),
    "gai": ("green area index", "green lai", "glai", "lai green", "green leaf area index"),
    "lai_eff": ("laie", "lai effective", "effective lai", "effective leaf area index"),
    "cab": ("lcc", "leaf chlorophyll"),
    "ccc": ("canopy chlorophyll", "canopy chlorophyll content"),
    "cw": ("ewt",),
    "cm": ("lma",),
    "fapar": ("fpar",),
    "fcover": ("fvc",),
    "lidfa": ("ala", "mta"),
}
"""Other words for a variable, beside its name, symbol and long name; in lower case, a space for all that
parts words."""

OBSERVED = {
    "bbch": "growth stage",
    "height": "canopy height",
    "canopy height": "canopy height",
    "biomass": "biomass",
    "yield": "yield",
}
"""What field tables hold beside measurands, and nobody estimates: known, and left out."""
_SPELLINGS = {
    "µ": "u", "μ": "u", "²": "2", "⁻¹": "-1", "⁻": "-", "−": "-", "^": "", "**": "", "{": "", "}": "",
    "·": " ", "*": " ", "degrees": "degree",
}  # fmt: skip


def word(name: str) -> str:
    """One spelling of a name: lower case, single spaces for spaces, underscores and hyphens."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


_BY_WORD = {word(text): m for m in _ALL for text in (m.name, m.symbol, m.long_name, *_WORDS.get(m.name, ()))}

WORDS = tuple(sorted({*_BY_WORD, *OBSERVED}))
"""All words that a table's column ``variable`` may have, in the spelling of :func:`word`."""


def find(name: str) -> Measurand | None:
    """The variable called ``name``, in any case and by any of its words; None if no model estimates it.

    LAI is plant area, as PAI is, unless a campaign says otherwise of its table.
    """
    return _BY_WORD.get(word(name))


def listed() -> str:
    """All variables by symbol, with other words for the areas, for a message."""
    also = {"lai": " (or PAI: plant area)", "gai": " (green area)", "lai_eff": " (effective area)"}
    return ", ".join(f"{m.symbol}{also.get(m.name, '')}" for m in _ALL)


def label(name: str) -> str:
    """Axis label of a variable; an unknown one keeps its bare name."""
    measurand = MEASURANDS.get(name)
    return measurand.label if measurand else name


def factor(measurand: Measurand, unit: str) -> float | None:
    """What a value in ``unit`` is multiplied by to be in ``measurand.unit``; None for an unknown unit."""
    words = _normalise(unit).split()
    if words and words[-1] in ("leaf", "ground") and measurand.basis is not None:
        if words.pop() != measurand.basis:
            return None
        if words and words[-1] == "of":
            words.pop()
    return measurand.factors.get(" ".join(words))


def _normalise(unit: str) -> str:
    """One spelling: "µg/cm²", "ug cm^-2" and "ug cm-2" are the same unit."""
    text = unit.strip().lower()
    for old, new in _SPELLINGS.items():
        text = text.replace(old, new)
    if text.count("/") == 1:
        above, below = (part.strip() for part in text.split("/"))
        head, _, rest = below.partition(" ")
        power = head if head[-1:].isdigit() else f"{head}1"
        text = f"{above} {power[:-1]}-{power[-1]} {rest}"
    return " ".join(text.split())
