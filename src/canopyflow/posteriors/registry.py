"""The families by name: a family is a file beside this one, named as the campaign names it.

Each such file says ``FAMILY = TheClass``. Nothing lists them twice, and a family is imported only when it
is asked for: the static import graph of one family does not hold its siblings, so neither editing a
sibling nor adding one changes the code that this family's results depend on.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canopyflow.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from canopyflow.posteriors.contract import Family

_FRAME = {"__init__", "contract", "registry"}
"""Modules of this folder that are no family; further ones open with an underscore."""
_GIVEN = {"self", "dim", "features", "lower", "upper"}
"""Arguments that :func:`build` gives every family; all others are the family's options."""


class _Families(Mapping[str, "type[Family]"]):
    """Name → class. Names are file names and cost nothing; a class costs the import of its module."""

    def __iter__(self) -> Iterator[str]:
        names = {path.stem for path in Path(__file__).parent.glob("*.py")}
        return iter(sorted(name for name in names - _FRAME if not name.startswith("_")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __getitem__(self, name: str) -> type[Family]:
        if name not in self:
            raise KeyError(name)
        kind: type[Family] = importlib.import_module(family_module(name)).FAMILY
        return kind


FAMILIES: Mapping[str, type[Family]] = _Families()


def family_module(name: str) -> str:
    """Dotted path of the module of family ``name``; ConfigError for an unknown one."""
    if name not in list(FAMILIES):
        raise ConfigError(f"unknown posterior family {name!r}", _nearest(str(name), FAMILIES))
    return f"{__package__}.{name}"


def options_of(name: str) -> dict[str, Any]:
    """The family's own options and their defaults; ConfigError for an unknown family."""
    family_module(name)
    parameters = inspect.signature(FAMILIES[name].__init__).parameters
    return {option: p.default for option, p in parameters.items() if option not in _GIVEN}


def check_options(name: str, options: Iterable[str]) -> None:
    """Raises ConfigError for an unknown family, or for an option that it does not have."""
    known = options_of(name)
    for option in options:
        if option not in known:
            raise ConfigError(f"unknown option {option!r} of family {name!r}", _nearest(option, known))


def build(
    name: str,
    dim: int,
    features: int,
    lower: Tensor | Sequence[float],
    upper: Tensor | Sequence[float],
    **options: Any,
) -> Family:
    """An untrained family over ``dim`` variables within ``lower``, ``upper`` (dim,).

    ``features`` is the length of the encoder's output; ``options`` are the family's own. Raises
    ConfigError for an unknown family or option, and for bounds that enclose nothing.
    """
    # Here and not above: a campaign file is checked against the names without loading torch.
    import torch

    check_options(name, options)
    low, high = (torch.as_tensor(bound, dtype=torch.get_default_dtype()) for bound in (lower, upper))
    if low.shape != (dim,) or high.shape != (dim,):
        raise ConfigError(
            f"bounds of family {name!r} have shapes {tuple(low.shape)} and {tuple(high.shape)}",
            f"both must be ({dim},)",
        )
    if not bool((low < high).all()):
        i = int((~(low < high)).nonzero()[0])
        raise ConfigError(
            f"variable {i} has bounds [{low[i]:g}, {high[i]:g}]", "the lower must be below the upper"
        )
    return FAMILIES[name](dim, features, low, high, **options)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(names) or 'none'}"
