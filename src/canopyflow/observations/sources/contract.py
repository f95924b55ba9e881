"""What every source of samples is: a store read into one :class:`Sample`."""

import abc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from canopyflow.errors import DataError
from canopyflow.observations.observation import Sample, View
from canopyflow.vocabulary import PLATFORMS


class Source(abc.ABC):
    """``gives``: what its samples hold beside observations, "truth" for known states; ``view``: what one
    covers."""

    gives: ClassVar[frozenset[str]] = frozenset()
    view: ClassVar[View] = View.PIXEL

    @abc.abstractmethod
    def load(
        self, path: str | Path, bands: Sequence[str], platforms: Sequence[str], most: int | None, seed: int
    ) -> Sample:
        """Read at most ``most`` observations, chosen by ``seed``, in exactly these ``bands``.

        Raises DataError if the store lacks a band or holds a platform that is not among ``platforms``.
        """


def check_bands(there: Iterable[str], wanted: Iterable[str], path: str | Path, remedy: str) -> None:
    """Raises DataError for a band of ``wanted`` that is not there."""
    missing = sorted(set(wanted) - set(there))
    if missing:
        raise DataError(f"{path} lacks band {missing[0]}", remedy)


def check_platforms(used: Iterable[int], wanted: Sequence[str], path: str | Path) -> None:
    """Raises DataError for a platform that is used (by index) and not among ``wanted`` (by name)."""
    unknown = [PLATFORMS[index] for index in sorted(set(used)) if PLATFORMS[index] not in wanted]
    if unknown:
        raise DataError(
            f"{path} holds platform {unknown[0]}, the model knows {', '.join(wanted)}",
            f"add {unknown[0]} to the campaign's platforms",
        )
