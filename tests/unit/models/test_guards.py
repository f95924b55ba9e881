"""What is no spectrum is told by name, pixel by pixel; arrays are refused for one of them."""

import numpy as np
import pytest
import torch
from untrained import ANGLES, untrained

from canopyflow.errors import DataError
from canopyflow.models.guards import check_arrays, in_radians, judge
from canopyflow.vocabulary import BANDS

CANOPY = np.array([[0.0203, 0.0355, 0.0219, 0.0626, 0.2594, 0.3985, 0.4151, 0.4151, 0.1285, 0.0658]])
DEGREES = np.array([[30.0, 5.0, 90.0]])
NAN = float("nan")


def changed(**cells: float) -> np.ndarray:
    """The canopy with other values in some bands."""
    row = CANOPY.copy()
    for band, value in cells.items():
        row[0, BANDS.index(band)] = value
    return row


def alone(value: float) -> np.ndarray:
    """One band of this value, all others missing."""
    row = np.full_like(CANOPY, NAN)
    row[0, 0] = value
    return row


@pytest.mark.parametrize(
    ("row", "angles", "wrong"),
    [
        (CANOPY, DEGREES, set()),
        (CANOPY * 10_000, DEGREES, {"unlike"}),
        (CANOPY * 100, DEGREES, {"unlike"}),
        (changed(B08=6.5535), DEGREES, {"unlike"}),
        (changed(B08=1.3), DEGREES, set()),
        (changed(B02=-0.03), DEGREES, set()),
        (changed(B04=-9999.0), DEGREES, {"fill"}),
        (changed(B04=NAN), DEGREES, {"gaps"}),
        (changed(B04=float("-inf")), DEGREES, {"gaps"}),
        (CANOPY * 0, DEGREES, {"blank"}),
        (CANOPY * 0 - 0.1, DEGREES, {"blank"}),
        (CANOPY * 0 + 1e-4, DEGREES, {"blank"}),
        (CANOPY * 0 + 0.1, DEGREES, set()),
        (CANOPY * 0 - 9999, DEGREES, {"fill"}),
        (CANOPY * NAN, DEGREES, {"gaps"}),
        (alone(0.0), DEGREES, {"blank", "gaps"}),
        (alone(0.03), DEGREES, {"gaps"}),
        (CANOPY, np.array([[120.0, 5.0, 90.0]]), {"angle"}),
        (CANOPY, np.array([[30.0, -1.0, 90.0]]), {"angle"}),
        (CANOPY, np.array([[30.0, 5.0, -361.0]]), {"angle"}),
        (CANOPY, np.array([[30.0, NAN, 90.0]]), {"lacking"}),
    ],
)
def test_each_wrong_is_told_from_the_others(row: np.ndarray, angles: np.ndarray, wrong: set[str]) -> None:
    found = judge(np.concatenate([CANOPY, row]), np.concatenate([DEGREES, angles]))
    kinds = ("unlike", "fill", "blank", "angle", "lacking", "gaps")
    assert {kind for kind in kinds if getattr(found, kind)[1]} == wrong
    assert not any(getattr(found, kind)[0] for kind in kinds)
    assert found.complete.tolist() == [True, not wrong]
    reads = wrong <= {"gaps", "fill"} and bool(found.valid[1].any())
    assert found.usable.tolist() == [True, reads]


@pytest.mark.parametrize(
    ("row", "angles", "message"),
    [
        (CANOPY * 10_000, DEGREES, "^digital numbers: .*divide by 10000"),
        (CANOPY * 100, DEGREES, "^percent: .*divide by 100"),
        (changed(B04=-9999.0), DEGREES, "^fill-value: a reflectance is below -0.2"),
        (CANOPY * 0, DEGREES, "^fill-value: no band of a pixel is above 0.001"),
        (CANOPY, np.deg2rad(DEGREES), "^radians: .*give degrees"),
        (CANOPY, np.array([[120.0, 5.0, 90.0]]), "^angles: an angle is outside"),
        (CANOPY, np.array([[NAN, 5.0, 90.0]]), "^angles: an angle is missing"),
        (CANOPY[:, :9], DEGREES, "9 bands"),
        (CANOPY, DEGREES[:, :2], "2 angles"),
    ],
)
def test_a_model_refuses_arrays_that_hold_no_spectra(
    row: np.ndarray, angles: np.ndarray, message: str
) -> None:
    model = untrained()
    x, a = (torch.from_numpy(values).float() for values in (row, angles))
    with pytest.raises(DataError, match=message):
        model.posterior(x, a, platform="S2A")
    if "radians" not in message and (row.shape, angles.shape) == (CANOPY.shape, DEGREES.shape):
        good, at = (torch.from_numpy(values).float() for values in (CANOPY, DEGREES))
        with pytest.raises(DataError, match=message):
            model.posterior(torch.cat([good, x]), torch.cat([at, a]), "S2A")


def test_spectra_of_any_batch_are_let_through() -> None:
    model = untrained()
    x = torch.from_numpy(CANOPY).float().expand(2, 3, 10)
    assert model.posterior(x, ANGLES.expand(2, 3, 3), platform="S2A").rsample((4,)).shape == (4, 2, 3, 11)
    check_arrays(changed(B04=NAN), DEGREES, BANDS)


def test_radians_are_known_by_all_suns() -> None:
    assert in_radians(np.array([0.4, NAN, 1.1])) and not in_radians(np.array([0.4, 35.0]))
    assert not in_radians(np.array([NAN])) and not in_radians(np.array([]))
