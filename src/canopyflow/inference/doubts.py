"""Flags that a pixel inherits from its scene."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from canopyflow.vocabulary import DOUBTS, FLAGS


def informing(attrs: Mapping[str, Any]) -> dict[int, int]:
    """Bits of the masks' ``quality`` that inform, and the flags of the same names."""
    bits = np.atleast_1d(attrs.get("flag_masks", ())).tolist()
    names = str(attrs.get("flag_meanings", "")).split()
    return {int(bit): FLAGS[name] for name, bit in zip(names, bits, strict=True) if name in DOUBTS}
