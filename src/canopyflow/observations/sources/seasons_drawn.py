"""Drawn seasons with the trajectories behind them: simulations that have dates."""

from typing import ClassVar

from canopyflow.observations.observation import View
from canopyflow.observations.sources.simulations import Simulations


class SeasonsDrawn(Simulations):
    """A simulations store whose samples have dates."""

    view: ClassVar[View] = View.SEASON
    stage: ClassVar[str] = "simulate_seasons"


SOURCE = SeasonsDrawn
