"""Flags that a pixel inherits from its scene."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canopyflow.vocabulary import DOUBTS, FLAGS


def informing(attrs: Mapping[str, Any]) -> dict[int, int]:
    """Bits of the masks' ``quality`` that inform, and the flags of the same names."""
    bits = np.atleast_1d(attrs.get("flag_masks", ())).tolist()
    names = str(attrs.get("flag_meanings", "")).split()
    return {int(bit): FLAGS[name] for name, bit in zip(names, bits, strict=True) if name in DOUBTS}


def doubts_of(quality: NDArray[Any], informs: Mapping[int, int]) -> NDArray[np.uint8]:
    """Flags that the bits of :func:`informing` set, of the shape of ``quality``."""
    flags = np.zeros(quality.shape, np.uint8)
    for bit, flag in informs.items():
        found = quality & bit
        if found.any():
            flags |= np.where(found, np.uint8(flag), np.uint8(0))
    return flags
