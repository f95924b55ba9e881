"""Numbers that somebody gives, as an observation: tensors, arrays, lists or columns of a data frame."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.models.guards import check_arrays
from canopyflow.observations.observation import Observation, pixels, platform_index
from canopyflow.vocabulary import ANGLES, PLATFORMS

Numbers = ArrayLike | Tensor


def observation_of(
    reflectance: Numbers,
    angles: Numbers,
    platform: Any,
    bands: Sequence[str],
    platforms: Sequence[str],
    device: torch.device,
) -> Observation:
    """Reflectance (*batch, bands) and angles (*batch, 3), degrees, as an observation of ``device``.

    One triple of angles serves all pixels. ``platform``: one name or index into
    :data:`canopyflow.vocabulary.PLATFORMS`, or (*batch) of either. NaN, and what a mask of numpy hides, is a
    missing band. Columns of a data frame are taken by name. Raises DataError for what is no spectrum, no
    geometry or no platform of the model.
    """
    x = _numbers(reflectance, bands, "reflectance", device)
    degrees = _numbers(angles, ANGLES, "angles", device)
    if degrees.ndim == 1:
        degrees = degrees.expand(*x.shape[:-1], len(degrees))
    if degrees.shape[:-1] != x.shape[:-1]:
        raise DataError(
            f"angles of shape {tuple(degrees.shape)} for reflectance of shape {tuple(x.shape)}",
            "give three angles for each pixel, or three for all",
        )
    places = _places(platform, platforms)
    if places.shape not in ((), x.shape[:-1]):
        raise DataError(
            f"platforms of shape {tuple(places.shape)} for reflectance of shape {tuple(x.shape)}",
            "give one for each pixel, or one for all",
        )
    check_arrays(_checkable(x), _checkable(degrees), bands)
    return pixels(x, degrees, torch.as_tensor(places, device=device), bands)


def _numbers(given: Any, columns: Sequence[str], what: str, device: torch.device) -> Tensor:
    """Floats (..., columns) of what was given."""
    if isinstance(given, Tensor):
        value = given
    else:
        if hasattr(given, "columns"):
            absent = [name for name in columns if name not in given.columns]
            if absent:
                raise DataError(f"{what} has no column {absent[0]!r}", f"it needs {', '.join(columns)}")
            given = given[list(columns)]
        try:
            if np.ma.isMaskedArray(given):
                given = np.ma.filled(given.astype(np.float64), np.nan)
            value = torch.from_numpy(np.array(given, dtype=np.float32))
        except (TypeError, ValueError) as error:
            raise DataError(f"{what} is no array of numbers: {error}", "give rows of equal length") from None
    if not value.ndim:
        raise DataError(f"{what} is one number", f"it needs {', '.join(columns)}, in this order")
    return value.to(device=device, dtype=torch.get_default_dtype())


def _checkable(value: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    return value.detach().double().cpu().numpy()


def _places(given: Any, known: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Index of each platform. Raises DataError for one that is not ``known``."""
    values = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    kinds, back = np.unique(values.astype(str), return_inverse=True)
    places = [_place(kind, known) for kind in kinds.tolist()]
    return np.array(places, np.int64)[back.reshape(values.shape)]


def _place(text: str, known: Sequence[str]) -> int:
    """Index of one platform, given as its name or as its index."""
    name = PLATFORMS[int(text)] if text.isdecimal() and int(text) < len(PLATFORMS) else text
    place = platform_index(name)
    if PLATFORMS[place] not in known:
        raise DataError(f"platform {text!r} is unknown to this model", f"it knows {', '.join(known)}")
    return place
