"""Evapotranspiration of a few days."""

import numpy as np

from canopyflow.evapotranspiration import evapotranspiration


def test_it_has_the_size_of_a_summer_and_of_frost() -> None:
    summer, frost = evapotranspiration(np.array([20.0, -3.0]), np.array([24.0, 5.0]))
    assert 4 < summer < 6 and frost == 0
