"""What a job is expected to take, and what it may take: time and memory that follow its work.

An estimate is the time by the shipped rates (:mod:`canopyflow.campaigns.rates`), times the ratio of what
finished jobs of the same rule took to what these rates say of them. Jobs of the same model count first, then
those of other models, then those of another campaign; where there are none, the shipped rates stand alone.
Since each job is compared with its own work, a few small months tell what a large one takes.
"""

import csv
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from canopyflow.campaigns.rates import DRAWN_AT_MOST, RATES
from canopyflow.campaigns.work import Work

HERE, OTHER, SHIPPED = "measured here", "other models", "shipped"
"""Where a rate comes from; that of another campaign is ``like NAME``."""

SAMPLE, FEW = 200, 50
"""Benchmarks read of each rule and model, which stand for all: for a plan, and for the limits of a job."""

SAFETY = 2
"""An attempt may take so many times what the job takes without a cloud, times the number of the attempt."""

MARGIN = 1.2
"""Memory that is asked for, as a multiple of what finished jobs have held at most."""


class Took(NamedTuple):
    """What a finished job took: seconds and MB; its seconds by the shipped rates, None for unknown work."""

    seconds: float
    mb: float
    shipped: float | None


class Finished:
    """The benchmarks of a campaign.

    Args:
        work: the work of that campaign.
        evenly: read files that are evenly spread over all there are; otherwise the first that are found, for
            which not all folders have to be looked through.
    """

    def __init__(self, work: Work, evenly: bool = True) -> None:
        self.work, self.evenly = work, evenly

    def took(self, rule: str, model: str | None = None, threads: int = 1) -> tuple[Took, ...]:
        """What finished jobs of the rule took, of one model or of any, on as many threads as it has today."""
        return _took(self, rule, model, threads)

    def read(self, rule: str, model: str | None, threads: int) -> Iterator[Took]:
        pattern = RATES[rule].benchmark.replace("{model}", model or "{model}")
        folder = self.work.campaign.results / "benchmarks"
        found = folder.glob(re.sub(r"\{\w+\}", "*", pattern))
        files = itertools.islice(found, FEW) if not self.evenly else _spread(sorted(found))
        names = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(pattern)))
        for path in files:
            seconds, mb = _measured(path)
            match = names.fullmatch(path.relative_to(folder).as_posix())
            if not seconds or match is None:
                continue
            wildcards = {**({"model": model} if model else {}), **match.groupdict()}
            # Others have been models of the campaign once, or are none (matchups/plots.tsv).
            if wildcards.get("model") in (None, *self.work.models):
                yield Took(seconds, mb, self.work.seconds(rule, wildcards, threads))


@cache
def _took(finished: Finished, rule: str, model: str | None, threads: int) -> tuple[Took, ...]:
    return tuple(finished.read(rule, model, threads))


def _spread(files: list[Path]) -> list[Path]:
    return files[:: len(files) // SAMPLE + 1]


def _measured(benchmark: Path) -> tuple[float, float]:
    """Seconds and MB of a job; 0 for what is not there: it is being repeated, or was very short."""
    try:
        with benchmark.open(newline="") as file:
            row = next(csv.DictReader(file, delimiter="\t"), {})
    except FileNotFoundError:
        return 0.0, 0.0
    return _number(row.get("s")), _number(row.get("max_rss"))


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


class Estimates:
    """What jobs of a campaign are expected to take.

    Args:
        work: the campaign's work.
        before: its work by the settings with which the finished jobs ran; by default those of today.
        like: the work of another campaign, whose finished jobs serve as well.
    """

    def __init__(self, work: Work, before: Work | None = None, like: Work | None = None) -> None:
        self.work = work
        self._sources = [(HERE, OTHER, Finished(before or work))]
        if like is not None:
            name = f"like {like.campaign.campaign}"
            self._sources.append((name, name, Finished(like)))

    def seconds(self, rule: str, wildcards: Mapping[str, str], threads: int = 1) -> tuple[float, str] | None:
        """Seconds of a job on so many threads, and whose rates say so; None if nothing is known of it."""
        if rule not in RATES:
            return None
        shipped, model = self.work.seconds(rule, wildcards, threads), wildcards.get("model")
        for same, other, finished in self._sources:
            for name, whose in ((same, model), (other, None)) if model else ((same, None),):
                took = finished.took(rule, whose, threads)
                if took and shipped is None:
                    return sum(each.seconds for each in took) / len(took), name
                known = [(each.seconds, each.shipped) for each in took if each.shipped]
                if known and shipped is not None:
                    return shipped * sum(s for s, _ in known) / sum(s for _, s in known), name
        return None if shipped is None else (shipped, SHIPPED)


class Limits:
    """What the workflow asks for: how long a job may take, and how much memory it may hold."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._finished = Finished(work, evenly=False)

    def minutes(self, rule: str, wildcards: Mapping[str, str], threads: int, attempt: int) -> int:
        """Time of an attempt. No cloud is expected, and much ground for which summaries are not learned: how
        much there is of both is known only when the job runs."""
        shipped = self.work.seconds(rule, wildcards, threads, clear=1.0, drawn=DRAWN_AT_MOST)
        expected = 0 if shipped is None else SAFETY * shipped / 60
        return max(RATES[rule].least, math.ceil(expected * self._slow(rule, wildcards, threads))) * attempt

    def megabytes(self, rule: str, wildcards: Mapping[str, str], threads: int, attempt: int) -> int:
        """Memory of an attempt."""
        held = max((t.mb for t in self._own(rule, wildcards, threads)), default=0)
        return math.ceil(max(self.work.megabytes(rule, wildcards, threads), MARGIN * held)) * attempt

    def _slow(self, rule: str, wildcards: Mapping[str, str], threads: int) -> float:
        """What slow jobs took, as a multiple of what the shipped rates say; one that hung does not count."""
        ratios = sorted(t.seconds / t.shipped for t in self._own(rule, wildcards, threads) if t.shipped)
        # Never less than shipped: they may have run with other settings, or on other machines.
        return max(1, ratios[math.floor(0.95 * (len(ratios) - 1))]) if ratios else 1

    def _own(self, rule: str, wildcards: Mapping[str, str], threads: int) -> tuple[Took, ...]:
        return self._finished.took(rule, wildcards.get("model"), threads)
