"""Posterior families: each maps features of a pixel to a distribution over its variables, within bounds.

One contract for all (:mod:`.contract`); a family is a file beside this one (:mod:`canopyflow.registry`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from canopyflow.errors import ConfigError
from canopyflow.registry import FAMILIES

if TYPE_CHECKING:
    from torch import Tensor

    from canopyflow.posteriors.contract import Family

__all__ = ["FAMILIES", "build"]


def build(
    family: str | type[Family],
    dim: int,
    features: int,
    lower: Tensor | Sequence[float],
    upper: Tensor | Sequence[float],
    **options: Any,
) -> Family:
    """An untrained family over ``dim`` variables within ``lower``, ``upper`` (dim,).

    ``family``: a name, or the class itself. ``features`` is the length of the encoder's output; ``options``
    are the family's own. Raises ConfigError for an unknown family or option, and for bounds that
    enclose nothing.
    """
    # Here and not above: a campaign file is checked against the names without loading torch.
    import torch

    from canopyflow.posteriors.contract import Setting

    if isinstance(family, str):
        # Before the call: an option named like one of the family's arguments would be a bare TypeError.
        FAMILIES.check(family, options)
    low, high = (torch.as_tensor(bound, dtype=torch.get_default_dtype()) for bound in (lower, upper))
    if low.shape != (dim,) or high.shape != (dim,):
        raise ConfigError(
            f"bounds of family {family!r} have shapes {tuple(low.shape)} and {tuple(high.shape)}",
            f"both must be ({dim},)",
        )
    if not bool((low < high).all()):
        i = int((~(low < high)).nonzero()[0])
        raise ConfigError(
            f"variable {i} has bounds [{low[i]:g}, {high[i]:g}]", "the lower must be below the upper"
        )
    built: Family = FAMILIES.build(family, Setting(dim, features, low, high), **options)
    return built
