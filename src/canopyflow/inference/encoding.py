"""Numbers of a product store: 16-bit integers with CF scale and offset, as precise as the posterior is wide.

A value is ``number * scale_factor + add_offset``: scale and offset belong to the variable and come from its
bounds; the least number stands for 0.

Digits far below a pixel's posterior standard deviation say nothing and cannot be compressed. So all
statistics of a pixel are rounded to the same multiple of the scale, 2 to some power, which is at most
:data:`STEP` of that standard deviation: rounding moves no value by more than half of that, 2 %, and quantiles
keep their order. Where the standard deviation is below 25 scales, it is the scale itself that rounds.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BloscShuffle

from canopyflow.vocabulary import DERIVED, LARGEST, SEASONAL, VARIABLES

FILL = np.int16(32767)
"""What stands where there is no value."""

STEP = 0.04
"""Largest step between numbers, in posterior standard deviations of the pixel."""

COMPRESSOR = BloscCodec(cname="zstd", clevel=1, shuffle=BloscShuffle.bitshuffle)
"""Higher levels take three times as long for one percent: what rounding leaves of a number is noise."""

FIT_SCALE = 1e-3
FIT_STEP = 0.02
"""Largest step between numbers of ``fit``, relative to the value: it is within 1 %."""

_LEAST = 32768
_MOST = _LEAST + float(FILL) - 1
"""Largest value, in scales."""
_EXPONENT = np.int32(0x7F80_0000)
"""Bits of the exponent of a float32: with them alone, a number is the power of 2 at or below it."""
_INTEGERS = np.float32(1.5 * 2**23)
"""Added to a float32 and taken away again, it leaves the nearest integer; times 2**k, the multiple."""

ABOUT = {v.name: v for v in (*VARIABLES, *DERIVED, *SEASONAL)}
"""Everything that a product can be about, by name."""


def scale_of(variable: str) -> float:
    """Scale of a variable: two digits, and its largest value is within reach. No variable is negative."""
    exact = LARGEST[variable] / _MOST
    digit = 10.0 ** (math.floor(math.log10(exact)) - 1)
    return float(f"{math.ceil(exact / digit) * digit:.1e}")


def cf_attributes(scale: float) -> dict[str, Any]:
    """What a reader that knows CF conventions needs to decode the numbers."""
    return {"scale_factor": scale, "add_offset": _LEAST * scale, "_FillValue": FILL}


def statistics_numbers(
    values: NDArray[np.float32], deviation: NDArray[np.float32], scale: float
) -> NDArray[np.int16]:
    """Statistics (s, n) of one variable as numbers; ``deviation`` (n,) is the posterior's.

    NaN becomes :data:`FILL`. What is beyond the range of the numbers is set to its end.
    """
    return _numbers(values, deviation * np.float32(STEP / scale), scale)


def fit_numbers(fit: NDArray[np.float32]) -> NDArray[np.int16]:
    """Distances ``fit`` (n,) as numbers with :data:`FIT_SCALE`."""
    return _numbers(fit, fit * np.float32(FIT_STEP / FIT_SCALE), FIT_SCALE)


def _numbers(values: NDArray[np.float32], coarsest: NDArray[np.float32], scale: float) -> NDArray[np.int16]:
    """Nearest multiples of the largest power of 2 that is at most ``coarsest``, but at least 1."""
    step = (coarsest.view(np.int32) & _EXPONENT).view(np.float32)
    # Also where there is no standard deviation, or none that could be: then only the scale rounds.
    step = np.where((coarsest >= 2) & (coarsest < _MOST / 2), step, np.float32(1))
    shift = step * _INTEGERS
    numbers = values * np.float32(1 / scale)
    # The upper end leaves room for rounding up: the number behind it says that there is no value.
    np.clip(numbers, np.float32(0), np.float32(_MOST + 1) - step, out=numbers)
    numbers += shift
    numbers -= shift + np.float32(_LEAST)
    if np.isnan(np.min(numbers, initial=0)):
        numbers[np.isnan(numbers)] = FILL
    return numbers.astype(np.int16)
