"""Histories of a small campaign: what may happen to it and its archive, and what must hold all the same.

A :class:`World` is a checkout of its own and an archive of a few scenes on the loopback. Its methods are
what happens: a run, a run that is killed, faults of the archive, new and changed scenes, broken files,
edits of settings and code. After each run :meth:`World.run` holds what must always hold; at the end
:meth:`World.finish` mends everything, runs once more and compares with a campaign that never had a history.

:class:`Histories` is the state machine of hypothesis that draws them (https://hypothesis.readthedocs.io).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rasterio
from checkouts import Checkout, fresh_checkout
from fault_server import Asked, Faults, FaultServer
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support_archive import write_item

CAMPAIGN = """
campaign: mini
area: {{bbox: [10.84, 46.925, 10.86, 46.94]}}
period: {{start: 2022-05-01, end: 2022-06-30}}
archive: {{catalog: "{catalog}", pin: "{pin}", max_unreadable: {accepted}}}
grid: {{resolution: 20, bands: [B02, B03, B04, B05, B8A, B11]}}
masking: {{dilate_pixels: {dilate}}}
patches: {{size: 4, block_metres: 160}}
"""
GOALS = ("scenes", "results/mini/patches/train.zarr/zarr.json")
DAYS = ("2022-05-01", "2022-06-05", "2022-05-11", "2022-06-15", "2022-05-21")
"""Acquisitions of the archive, in the order in which they appear; it begins with two, in two months."""

TRANSIENT = ("429", "500", "503", "reset", "dropped", "truncated", "wrong_length", "403")
BANDS = ("B02", "B8A", "SCL")
BROKEN = ("corrupt", "404", "page")

EDITS = {
    "masks": ("src/canopyflow/archive/masks.py", "HAZE_LIMIT = 0.5, 0.08", "HAZE_LIMIT = 0.5, 0.02"),
    "fetch": ("src/canopyflow/cubes/scenes.py", "scene classification of Sen2Cor", "classes of Sen2Cor"),
}
"""Edits of the code that change what is made: file, what stands there and what then stands there."""
COMMENTED = ("src/canopyflow/cubes/scenes.py", "src/canopyflow/archive/masks.py", "src/canopyflow/errors.py")

HURRY = (
    "src/canopyflow/archive/http.py",
    {"pause: float = 0.5": "pause: float = 0.02", "longest: float = 60.0": "longest: float = 0.2"},
)
"""The patience of the client in all these campaigns: an archive that is down is given up in a moment."""

KEPT = ("Snakefile", "workflow", "scripts", "src", "envs", "profiles")
"""What of a checkout a campaign needs."""
LEGITIMATE = {".lock", ".fetched.json"}
"""Hidden files of a campaign at rest."""
NOTHING = "Nothing to be done"
LONGEST = 300
"""Seconds that a run may take."""


def prepared_checkout(folder: Path) -> Checkout:
    """A checkout for all worlds to copy: with our patience, and compiled: copies keep the times of files."""
    whole = fresh_checkout(folder / "whole")
    lean = Checkout(folder / "lean")
    lean.folder.mkdir()
    for name in KEPT:
        (whole.folder / name).rename(lean.folder / name)
    shutil.rmtree(whole.folder)
    file, changes = HURRY
    text = (lean.folder / file).read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (lean.folder / file).write_text(text)
    compiled = [sys.executable, "-m", "compileall", "-q", str(lean.folder / "src")]
    subprocess.run(compiled, check=True)
    return lean


@dataclass
class World:
    """A campaign, its archive and what is known of both.

    Attributes:
        checkout: where the campaign runs.
        server: serves the archive; several worlds may share it, one after the other.
        fresh: results of campaigns without a history, by the state of the world; shared as well.
        scenes: version of each scene in the archive by its day: a seed of its pixels.
        settled: whether nothing has happened since a run ended well that another run would have to react to.
        told: what happened so far, for whoever has to understand a failure.
    """

    checkout: Checkout
    server: FaultServer
    fresh: dict[str, dict[str, str]]
    scenes: dict[str, int] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    edited: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(EDITS, False))
    pin: int = 1
    dilate: int = 1
    accepted: int = 0
    settled: bool = False
    searched: frozenset[tuple[str, int]] = frozenset()
    kills: int = 0
    failed: int = 0
    refetches: Counter[str] = field(default_factory=Counter)
    names: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[Asked, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """An archive of two scenes, and a campaign that has not run."""
        archive = self.server.folder
        for path in archive.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.server.forget()
        self.server.faults, self.server.permanent = Faults(), {}
        for day in DAYS[:2]:
            self.write_scene(day, 0)
        self.write_campaign()

    def tell(self, what: str) -> None:
        self.told.append(what)

    # What happens to the archive.

    def write_scene(self, day: str, version: int) -> None:
        archive = self.server.folder
        if day in self.names:
            shutil.rmtree(archive / "sentinel-2-l2a" / self.names[day])
        seed = 100 * DAYS.index(day) + version
        self.names[day] = write_item(archive, day, seed=seed)["id"]
        self.scenes[day] = version
        # The classification knows no seed: another pixel of soil makes each version's file another one.
        with rasterio.open(archive / "sentinel-2-l2a" / self.names[day] / "SCL.tif", "r+") as file:
            classes = file.read(1)
            classes[8 + version, 8] = 5
            file.write(classes, 1)

    def new_scene(self) -> None:
        day = DAYS[len(self.scenes)]
        self.write_scene(day, 0)
        self.tell(f"new scene {day}")

    def change_scene(self, day: str) -> None:
        """New content of every file, hence new ETags, under the same name."""
        self.write_scene(day, self.scenes[day] + 1)
        self.tell(f"changed scene {day}")

    def break_file(self, day: str, band: str, how: str) -> None:
        self.broken[day] = how
        self.server.permanent[f"*/{self.names[day]}/{band}.tif"] = how
        self.tell(f"{band} of {day}: {how}")

    def mend(self, day: str) -> None:
        del self.broken[day]
        for pattern in [p for p in self.server.permanent if self.names[day] in p]:
            del self.server.permanent[pattern]
        self.tell(f"mended {day}")

    def faults(self, share: float, number: int) -> None:
        """Faults at a share of requests, another number, others; at all of them the archive is down."""
        kinds = ("reset",) if share == 1.0 else TRANSIENT
        self.server.faults = Faults(kinds, share, number) if share else Faults()
        self.tell(f"faults at {share:.0%} of requests ({number})")

    @property
    def is_down(self) -> bool:
        return self.server.faults.share == 1.0

    # What happens to the campaign.

    def write_campaign(self) -> None:
        text = CAMPAIGN.format(
            catalog=f"{self.server.url}/api", pin=self.pin, accepted=self.accepted, dilate=self.dilate
        )
        (self.checkout.folder / "mini.yaml").write_text(text)

    def raise_pin(self) -> None:
        self.pin += 1
        self.settled = False
        self.write_campaign()
        self.tell(f"archive.pin: {self.pin}")

    def set_dilation(self, pixels: int) -> None:
        self.settled &= pixels == self.dilate
        self.dilate = pixels
        self.write_campaign()
        self.tell(f"masking.dilate_pixels: {pixels}")

    def accept(self, number: int) -> None:
        self.settled = False
        self.accepted = number
        self.write_campaign()
        self.tell(f"archive.max_unreadable: {number}")

    def edit(self, what: str) -> None:
        """Edit the code, or take the edit back."""
        file, old, new = EDITS[what]
        before, after = (new, old) if self.edited[what] else (old, new)
        path = self.checkout.folder / file
        text = path.read_text()
        assert text.count(before) == 1, (file, before)
        path.write_text(text.replace(before, after))
        self.edited[what] = not self.edited[what]
        self.settled = False
        if what == "fetch":
            self.refetches.update(self.names.values())
        self.tell(f"edited the code of {what}")

    def comment(self, file: str) -> None:
        path = self.checkout.folder / file
        path.write_text(path.read_text() + "\n# An edit.\n")
        self.tell(f"comment in {file}")

    # Runs.

    def run(self) -> None:
        """A run to its end, and what must hold after every one."""
        self.run_until(lambda _: False, "")

    def kill_after_requests(self, number: int) -> None:
        """A run that is killed when the server has been asked so often."""
        asked = len(self.server.requests)
        enough = asked + number
        self.run_until(lambda _: len(self.server.requests) >= enough, f"after {number} requests")

    def kill_after_seconds(self, seconds: float) -> None:
        self.run_until(lambda spent: spent > seconds, f"after {seconds:.1f} s")

    def run_until(self, enough: Callable[[float], bool], when: str) -> None:
        """A run that is killed when ``enough`` (of the seconds spent) says so, or ends before that."""
        before, begun = len(self.server.requests), time.monotonic()
        with (self.checkout.folder / "output.txt").open("w") as output:
            # A group of processes of its own: all of them are killed, as when a machine fails.
            running = subprocess.Popen(
                self.checkout.command(*GOALS),
                cwd=self.checkout.folder,
                env=self.checkout.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            while running.poll() is None and not enough(time.monotonic() - begun):
                assert time.monotonic() - begun < LONGEST, self.story("the run does not end")
                time.sleep(0.005 if when else 0.1)
        finally:
            status = running.poll()
            kill(running)
        asked = len(self.server.requests) - before
        self.note_requests()
        if status is None:
            self.kills += 1
            self.settled = False
            self.tell(f"run: killed {when}, {asked} requests")
            self.note_attempts()
            assert "Traceback" not in self.output(), self.story()
        else:
            self.tell(f"run: status {status}, {asked} requests")
            self.check_run(status)

    def output(self) -> str:
        path = self.checkout.folder / "output.txt"
        return path.read_text() if path.exists() else ""

    def check_run(self, status: int) -> None:
        """Exit status and what is set aside are those that the archive explains."""
        output, aside = self.output(), self.set_aside()
        assert "Traceback" not in output, self.story()
        self.note_attempts()
        if status:
            self.failed += 1
        if self.settled:
            assert status == 0 and NOTHING in output, self.story()
        if self.is_down and status:
            assert "does not answer" in output or "did not answer" in output or aside, self.story()
            self.settled = False
            return
        unbelievable = self.unreadable()
        assert set(aside) <= unbelievable, self.story()
        assert (status == 0) == (len(aside) <= self.accepted), self.story()
        if status:
            assert all(name in output for name in aside), self.story()
        self.settled = status == 0

    def set_aside(self) -> dict[str, str]:
        """Scenes that the tables of masks say are set aside."""
        found = {}
        for path in sorted((self.checkout.folder / "results/mini/masks").rglob("*.csv")):
            head, *lines = path.read_text().splitlines()
            columns = head.split(",")
            for line in lines:
                row = dict(zip(columns, line.split(","), strict=True))
                if row["problem"]:
                    found[row["item"]] = row["problem"]
        return found

    def pinned(self) -> list[dict[str, Any]]:
        """Items of the campaign's search; none before it has ended."""
        search = self.checkout.folder / "results/mini/search"
        files = search.glob("*/*.json") if (search / "index.json").exists() else ()
        return [item for path in files for item in json.loads(path.read_text())["features"]]

    def is_outdated(self) -> bool:
        """Whether the search found another archive than there is now."""
        found = {item["id"] for item in self.pinned()}
        return bool(found) and (found != set(self.names.values()) or bool(self.unreadable()))

    def unreadable(self) -> set[str]:
        """Scenes that could not be read now: with a broken file, or with other content than was pinned."""
        found = {self.names[day] for day in self.broken}
        for item in self.pinned():
            for asset in item["assets"].values():
                file = self.server.folder / asset["href"].removeprefix(f"{self.server.url}/")
                if asset.get("canopyflow:etag") != self.server.etag(file):
                    found.add(item["id"])
        return found

    # What was asked for.

    def note_requests(self) -> None:
        """Keep the good answers that brought pixels, each with the identity of the file they came from."""
        for asked in self.server.requests:
            first, stop = asked.range or (0, None)
            # A single byte is asked for to learn size and ETag.
            is_pixels = asked.path.endswith(".tif") and asked.method == "GET" and stop != first + 1
            if is_pixels and not asked.fault:
                file = self.server.folder / asked.path.lstrip("/")
                self.requests.append((asked, self.server.etag(file) if file.exists() else ""))
        self.server.forget()

    def note_attempts(self) -> None:
        """Each run may try a scene again that cannot be read."""
        self.refetches.update(self.unreadable())

    def fetched_again(self) -> Counter[str]:
        """How often each scene was fetched again for no other reason than a kill or an archive that was down.

        Reasons are edited code and a file that could not be read. What was once delivered well counts again
        when the same part of a file with the same content is delivered well once more.
        """
        again: Counter[str] = Counter()
        for (path, _, _), times in Counter((a.path, a.range, etag) for a, etag in self.requests).items():
            name = Path(path).parent.name
            again[name] = max(again[name], times - 1 - self.refetches[name])
        return +again

    def check_fetched(self) -> None:
        assert not self.counts()["unexplained"], self.story(self.fetched_again())

    def counts(self) -> dict[str, int]:
        """Kills; scenes fetched again after a run that ended early; and those for which that is no reason.

        A job that ends early has one scene in hand and one on the way, and two jobs run at once.
        """
        again, ends = self.fetched_again(), self.kills + self.failed
        unexplained = sum(max(0, times - ends) for times in again.values()) + max(0, again.total() - 4 * ends)
        return {"kills": self.kills, "again": again.total(), "unexplained": unexplained}

    # The end.

    def finish(self) -> None:
        """Mend everything, run once more, and compare with a campaign that has no history."""
        self.server.faults = Faults()
        for day in list(self.broken):
            self.mend(day)
        if self.accepted:
            self.accept(0)
        if self.is_outdated():
            self.raise_pin()
        self.run()
        assert self.settled, self.story()
        self.run()
        hidden = {path.name for path in (self.checkout.folder / "results/mini").rglob(".*")}
        assert hidden <= LEGITIMATE, self.story(hidden - LEGITIMATE)
        self.check_fetched()
        mine, fresh = self.checkout.checksums(), self.fresh_checksums()
        differing = sorted(name for name in mine.keys() | fresh.keys() if mine.get(name) != fresh.get(name))
        assert not differing, self.story(differing)

    def state(self) -> str:
        """All that the results depend on."""
        return json.dumps([self.scenes, self.dilate, self.edited], sort_keys=True)

    def fresh_checksums(self) -> dict[str, str]:
        """Results of a campaign that ran once, in a copy of this checkout."""
        if self.state() not in self.fresh:
            copy = Checkout(self.checkout.folder.with_name("fresh"))
            shutil.rmtree(copy.folder, ignore_errors=True)
            hidden = shutil.ignore_patterns("results", ".snakemake")
            shutil.copytree(self.checkout.folder, copy.folder, symlinks=True, ignore=hidden)
            copy.snakemake(*GOALS)
            self.fresh[self.state()] = copy.checksums()
            self.server.forget()
        return self.fresh[self.state()]

    def story(self, *more: Any) -> str:
        """What happened until something was not as it must be."""
        told = "\n".join(f"{number:3} {what}" for number, what in enumerate(self.told, 1))
        shown = re.sub(r"\n(\n|Select jobs.*\n|Execute .*\n|\[.*\]\n)+", "\n", self.output())
        return f"{more}\nset aside: {self.set_aside()}\n{told}\n\n{shown[-5000:]}"


def kill(running: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group of processes."""
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


FOLLOWS = st.one_of(
    st.tuples(st.just("nothing"), st.just(0)),
    st.tuples(st.just("run"), st.just(0)),
    st.tuples(st.just("requests"), st.sampled_from((1, 3, 8, 15, 18, 22, 28, 35, 45))),
    st.tuples(st.just("seconds"), st.sampled_from((1.5, 2.5, 3.5, 4.5, 6.0, 8.0))),
)
SETTINGS = st.tuples(st.sampled_from(("dilate", "accept", "pin")), st.integers(0, 2))


class Histories(RuleBasedStateMachine):
    """Draws histories and tells ``came`` what came of each; see :func:`draw_histories`.

    Each step is something that happens to the archive, to settings or to code, and what follows: nothing
    yet, a run, or a run that is killed. A history that goes wrong is not drawn again, neither smaller nor the
    same: it takes half a minute, and a process is not killed twice at the same moment. Its story tells all.
    """

    base: Checkout
    server: FaultServer
    fresh: dict[str, dict[str, str]]
    folder: Path
    came: Callable[[dict[str, Any]], None]

    @initialize(has_run=st.booleans())
    def begin(self, has_run: bool) -> None:
        mine, finished = self.folder / "canopyflow", self.folder / "finished"
        shutil.rmtree(mine, ignore_errors=True)
        begun = Checkout(finished) if has_run and finished.exists() else self.base
        self.world, self.failure = World(begun.copy(mine), self.server, self.fresh), ""
        self.world.begin()
        if begun.folder == finished:
            self.world.settled = True
            self.world.tell("began with a campaign that has run")
        elif has_run:
            self.go(self.world.run)
            self.world.checkout.copy(finished)

    def go(self, happens: Callable[..., None], *what: Any) -> None:
        """Let it happen, unless the history went wrong already."""
        if not self.failure:
            try:
                happens(*what)
            except Exception:
                self.failure = f"{traceback.format_exc()}\n{self.world.story()}"

    def then(self, what: tuple[str, Any]) -> None:
        """What follows an edit: nothing yet, a run, or one that is killed."""
        kind, number = what
        if kind == "run":
            self.go(self.world.run)
        elif kind == "requests":
            self.go(self.world.kill_after_requests, number)
        elif kind == "seconds":
            self.go(self.world.kill_after_seconds, number)

    @rule(share=st.sampled_from((0.0, 0.05, 0.2, 1.0)), number=st.integers(0, 1000), then=FOLLOWS)
    def faults(self, share: float, number: int, then: tuple[str, Any]) -> None:
        self.go(self.world.faults, share, number)
        self.then(then)

    @precondition(lambda self: len(self.world.scenes) < len(DAYS))
    @rule(pinned=st.booleans(), then=FOLLOWS)
    def new_scene(self, pinned: bool, then: tuple[str, Any]) -> None:
        self.go(self.world.new_scene)
        if pinned:
            self.go(self.world.raise_pin)
        self.then(then)

    @rule(data=st.data(), pinned=st.booleans(), then=FOLLOWS)
    def changed_scene(self, data: st.DataObject, pinned: bool, then: tuple[str, Any]) -> None:
        self.go(self.world.change_scene, data.draw(st.sampled_from(sorted(self.world.scenes))))
        if pinned:
            self.go(self.world.raise_pin)
        self.then(then)

    @precondition(lambda self: len(self.world.broken) < len(self.world.scenes))
    @rule(data=st.data(), band=st.sampled_from(BANDS), how=st.sampled_from(BROKEN), then=FOLLOWS)
    def corrupt_file(self, data: st.DataObject, band: str, how: str, then: tuple[str, Any]) -> None:
        whole = sorted(self.world.scenes.keys() - self.world.broken.keys())
        self.go(self.world.break_file, data.draw(st.sampled_from(whole)), band, how)
        self.then(then)

    @precondition(lambda self: self.world.broken)
    @rule(data=st.data(), then=FOLLOWS)
    def mend(self, data: st.DataObject, then: tuple[str, Any]) -> None:
        self.go(self.world.mend, data.draw(st.sampled_from(sorted(self.world.broken))))
        self.then(then)

    @rule(setting=SETTINGS, then=FOLLOWS)
    def edit_settings(self, setting: tuple[str, int], then: tuple[str, Any]) -> None:
        name, number = setting
        if name == "dilate":
            self.go(self.world.set_dilation, number)
        elif name == "accept":
            self.go(self.world.accept, number)
        else:
            self.go(self.world.raise_pin)
        self.then(then)

    @rule(what=st.sampled_from((*COMMENTED, *sorted(EDITS))), then=FOLLOWS)
    def edit_code(self, what: str, then: tuple[str, Any]) -> None:
        self.go(self.world.edit if what in EDITS else self.world.comment, what)
        self.then(then)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.go(self.world.finish)
            type(self).came({"failure": self.failure, "told": self.world.told, **self.world.counts()})


def draw_histories(
    folder: Path, number: int, steps: int, came: Callable[[dict[str, Any]], None], chosen: int | None = None
) -> None:
    """Draw so many histories of so many steps, in ``folder``; the same ones each time, or those of a seed.

    ``came`` is called with each: ``failure`` (a story, empty where all held), what happened (``told``), and
    the numbers of :meth:`World.counts`.
    """
    archive = folder / "archive"
    archive.mkdir(parents=True)
    with FaultServer(archive) as server:
        where = {"base": prepared_checkout(folder), "server": server, "fresh": {}, "folder": folder}
        machine = type("HistoriesHere", (Histories,), {**where, "came": staticmethod(came)})
        options = settings(
            max_examples=number,
            stateful_step_count=steps,
            derandomize=chosen is None,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        drawn = machine if chosen is None else seed(chosen)(machine)
        # Without a least number hypothesis draws many histories of no step at all.
        run_state_machine_as_test(drawn, settings=options, _min_steps=steps - 1)
