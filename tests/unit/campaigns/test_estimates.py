"""What jobs are expected to take, and what the workflow lets them take, from the work in them."""

import itertools
import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from canopyflow.campaigns import commands, rates
from canopyflow.campaigns.estimates import HERE, OTHER, SAFETY, SHIPPED, Estimates, Limits
from canopyflow.campaigns.plan import Line, Plan
from canopyflow.campaigns.work import Work
from canopyflow.config import Campaign, load_campaign
from canopyflow.registry import FAMILIES

TOP = Path(__file__).resolve().parents[3]
TILE, MONTH = "32TPT", "2022-05"
PLACE = {"tile": TILE, "window": MONTH}
RUNS = {10: 6, 20: 12}
"""Scenes of the whole tiles of docs/scale.md by their resolution, in the order of its columns."""

RESOURCES = """
import json, sys
from snakemake.io import strip_wildcard_constraints
from canopyflow.campaigns.snakemake_internals import dry_run
out = {"jobs": [], "rules": {}}
for name in sys.argv[3:]:
    options = ["--snakefile", sys.argv[1], "--configfile", name, "--profile", sys.argv[2]]
    jobs, _ = dry_run([*options, "all"], on_slurm=True)
    for job in (job for job in jobs if not job.is_local):
        asked = {}
        for attempt in (1, 2, 3):
            job.attempt = attempt
            asked[attempt] = [job.resources.get("runtime"), job.resources.get("mem_mb")]
        out["jobs"].append([name, job.rule.name, asked])
    for rule in jobs[0].rule.workflow.rules:
        own = [name for name in ("runtime", "mem_mb") if callable(rule.resources.get(name)._value)]
        benchmark = str(strip_wildcard_constraints(str(rule.benchmark)))
        out["rules"][rule.name] = [benchmark, rule.name in rule.workflow._localrules, own]
print(json.dumps(out))
"""


def index(folder: Path, name: str, resolution: int, scenes: int, side: float = 109_800) -> None:
    """A search that found one tile-month."""
    path = folder / "results" / name / "search/index.json"
    (path.parent / TILE).mkdir(parents=True)
    (path.parent / TILE / f"{MONTH}.json").touch()
    grid = {"epsg": 32632, "bounds": [0, 0, side, side], "resolution": resolution}
    tiles = {TILE: {MONTH: {"scenes": scenes, "digest": "0"}}}
    path.write_text(json.dumps({"tiles": tiles, "lock": {"tiles": {TILE: grid}}}))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the real workflow asks of SLURM for the campaigns of benchmarks/whole_tile.py, by attempt."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "archive").mkdir()
    (folder / "archive/catalog.json").write_text("{}")
    settings = runpy.run_path(str(TOP / "benchmarks/whole_tile.py"), run_name="benchmark")["campaign"]
    for resolution, scenes in RUNS.items():
        campaign = settings(folder / "archive", 10_980, scenes, resolution)
        (folder / f"{resolution}.yaml").write_text(yaml.safe_dump(campaign))
        index(folder, campaign["campaign"], resolution, scenes)
    given = [str(TOP / "Snakefile"), str(TOP / "profiles/slurm"), *(f"{each}.yaml" for each in RUNS)]
    done = subprocess.run(
        [sys.executable, "-c", RESOURCES, *given],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(TOP / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def whole_tiles() -> dict[str, dict[int, tuple[float, float]]]:
    """Seconds and peak MB by rule and resolution, by docs/scale.md; of several rows the most."""
    text = (TOP / "docs/scale.md").read_text()
    section = text[text.index("## Whole tiles") :].split("\n## ", 1)[0]
    out: dict[str, dict[int, tuple[float, float]]] = {}
    for rule, *cells in re.findall(r"^\| `(\w+)`[^|]*" + r"\|([^|\n]*)" * 6 + r"\|$", section, re.MULTILINE):
        fine, fine_mb, _, coarse, coarse_mb, _ = (float(cell.replace(",", "").strip() or 0) for cell in cells)
        before = out.get(rule, {10: (0, 0), 20: (0, 0)})
        for resolution, (seconds, peak) in {10: (fine, fine_mb), 20: (coarse, coarse_mb)}.items():
            before[resolution] = max(before[resolution][0], seconds), max(before[resolution][1], peak)
        out[rule] = before
    return out


@pytest.mark.slow
def test_each_attempt_is_given_what_the_whole_tiles_of_the_docs_took(asked: dict[str, Any]) -> None:
    table = whole_tiles()
    assert {"fetch_scenes", "mask_clouds", "cut_patches", "train", "infer", "publish"} <= table.keys()
    jobs = {(name, rule) for name, rule, _ in asked["jobs"]}
    assert {(f"{resolution}.yaml", rule) for rule in table for resolution in RUNS} <= jobs
    for name, rule, attempts in asked["jobs"]:
        assert all(isinstance(each, int) for attempt in attempts.values() for each in attempt), rule
        if rule not in table:
            continue
        seconds, peak = table[rule][int(name.removesuffix(".yaml"))]
        (first, first_mb), (last, last_mb) = attempts["1"], attempts["3"]
        assert first * 60 >= seconds and first_mb >= peak, (rule, name)
        assert last * 60 >= 2 * seconds and last_mb >= peak, (rule, name)
        assert (last, last_mb) == (3 * first, 3 * first_mb)


def test_the_profile_tries_as_often_as_the_test_above_says() -> None:
    profile = yaml.safe_load((TOP / "profiles/slurm/config.yaml").read_text())
    assert profile["retries"] == 2
    asked = {key for block in profile["set-resources"].values() for key in block}
    assert not asked & {"mem_mb", "runtime"}, "this would win over what the rules ask for"


def test_each_rule_has_its_rate_and_asks_for_time_and_memory(asked: dict[str, Any]) -> None:
    for rule, (benchmark, is_local, own) in asked["rules"].items():
        if benchmark == "None":
            continue
        assert benchmark.split("/benchmarks/")[1] == rates.RATES[rule].benchmark
        assert is_local or own == ["runtime", "mem_mb"], rule
    assert rates.RATES.keys() - asked["rules"].keys() == {"demo_archive"}


def campaign(**changes: Any) -> Campaign:
    return load_campaign(
        {
            "campaign": "here",
            "area": {"bbox": [10.8, 46.9, 10.9, 47.0]},
            "period": {"start": "2022-05-01", "end": "2022-05-30"},
            "archive": {"catalog": "https://stac.invalid/v1"},
            "families": ["nsf", "truncated_normal"],
            **changes,
        }
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a campaign `here` keeps its benchmarks; it has found a tile-month of 4 scenes, 96 × 96 pixels."""
    monkeypatch.chdir(tmp_path)
    index(tmp_path, "here", 20, 4, side=1920)
    return tmp_path / "results/here/benchmarks"


def benchmark(path: Path, seconds: float, mb: float = 100.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t{mb}\n")


def infer(work: Work, model: str = "nsf", threads: int = 1) -> float:
    seconds = work.seconds("infer", {**PLACE, "model": model}, threads, clear=1.0)
    assert seconds is not None
    return seconds - rates.RATES["infer"].start


def test_the_time_of_a_map_follows_pixels_scenes_draws_and_threads(here: Path, tmp_path: Path) -> None:
    def drawn(**options: Any) -> Work:
        inference = campaign().inference.model_copy(update={"summaries": "drawn", **options})
        return Work(campaign().model_copy(update={"inference": inference}))

    one = infer(drawn())
    seen = 96 * 96 * 4
    assert one == pytest.approx(seen / 3100, rel=0.05)
    assert infer(drawn(samples=1000)) == pytest.approx(10 * one, rel=0.05)
    assert infer(drawn(), threads=8) == pytest.approx(one / 8)
    assert infer(drawn(), "truncated_normal") < one / 3
    refined = infer(drawn(refine="importance"))
    assert infer(drawn(refine="importance", proposals=4000)) == pytest.approx(2 * refined, rel=0.05)
    learned = infer(drawn(summaries="learned"))
    assert seen / 200_000 < learned < one / 10
    larger = Work(campaign(), tmp_path / "results/larger/search/index.json")
    index(tmp_path, "larger", 20, 8, side=3840)
    assert infer(larger) == pytest.approx(8 * infer(Work(campaign())))


def test_a_map_is_given_the_time_of_draws_if_its_model_has_no_good_summaries(here: Path) -> None:
    """Whether it has them is told by its bundle, which is there when the map is submitted."""
    settings = campaign()
    inference = settings.inference.model_copy(update={"summaries": "drawn"})
    all_drawn = infer(Work(settings.model_copy(update={"inference": inference})))
    work = Work(settings)
    before = infer(work)
    bundle = here.parent / "models/nsf/seed0/model.json"
    bundle.parent.mkdir(parents=True)
    times = itertools.count(1)

    def told(**summaries: Any) -> float:
        bundle.write_text(json.dumps({"summaries": summaries} if summaries else {}))
        os.utime(bundle, ns=(0, next(times)))  # two writes may be too near for the clock of the files
        return infer(work)

    assert told(passed=True, drawn_share=0.001) == pytest.approx(before)
    assert told(passed=True, drawn_share=0.5) == pytest.approx(all_drawn / 2, rel=0.1)
    assert told() == told(passed=False) == pytest.approx(all_drawn)
    assert infer(work, "truncated_normal") < before


def test_a_season_takes_the_time_of_its_dates_and_less_where_they_are_learned(here: Path) -> None:
    season = {"s": {"family": "nsf", "dynamics": "season_curves"}}

    def seconds(rule: str, how: str = "learned", **seasons: Any) -> float:
        settings = campaign(models=season, inference={"summaries": how}, seasons=seasons)
        found = Work(settings).seconds(rule, {"tile": TILE, "window": "2022", "model": "s"}, clear=1.0)
        assert found is not None
        return found

    drawn = seconds("infer", "drawn")
    assert seconds("infer") < drawn / 5
    assert seconds("infer", summaries=None) == pytest.approx(drawn)
    # Four passes, and six dates or three.
    assert seconds("infer", "drawn", every_days=12) < 0.8 * drawn
    assert seconds("train", summaries=None) < seconds("train") < seconds("train", summaries={"epochs": 8})


def test_the_last_attempt_at_a_map_is_enough_if_half_of_the_ground_is_drawn(tmp_path: Path) -> None:
    """Real ground may be unlike the simulations, and no job would ever finish to say so."""
    wildcards = {**PLACE, "model": "nsf"}
    index(tmp_path, "whole", 10, 6)
    work = Work(campaign(campaign="whole"), tmp_path / "results/whole/search/index.json")
    half = work.seconds("infer", wildcards, clear=1.0, drawn=0.5)
    assert half is not None
    assert Limits(work).minutes("infer", wildcards, 1, attempt=3) * 60 > half


def test_the_clear_pixels_are_those_of_the_masks_where_there_are_masks(here: Path) -> None:
    before = Work(campaign()).seconds("infer", {**PLACE, "model": "nsf"})
    masks = here.parent / f"masks/{TILE}/{MONTH}.csv"
    masks.parent.mkdir(parents=True)
    masks.write_text("item,valid_share\na,0.1\nb,0.3\nc,\n")
    assert Work(campaign()).clear(TILE, MONTH) == pytest.approx(0.2)
    after = Work(campaign()).seconds("infer", {**PLACE, "model": "nsf"})
    assert before is not None and after is not None and after < before


def test_own_jobs_come_before_other_models_another_campaign_and_the_shipped_rates(
    here: Path, tmp_path: Path
) -> None:
    like = campaign(campaign="there", families=["maf"])
    index(tmp_path, "there", 20, 2, side=1920)

    def told(model: str = "nsf") -> tuple[float, str]:
        found = Estimates(Work(campaign()), like=Work(like)).seconds("infer", {**PLACE, "model": model})
        assert found is not None
        ratio, name = found[0] / infer_seconds(campaign(), model), found[1]
        return round(ratio, 6), name

    def infer_seconds(of: Campaign, model: str) -> float:
        seconds = Work(of).seconds("infer", {**PLACE, "model": model})
        assert seconds is not None
        return seconds

    assert told() == (1, SHIPPED)
    products = f"products/{{}}/{TILE}/{MONTH}.tsv"
    benchmark(tmp_path / "results/there/benchmarks" / products.format("maf"), 4 * infer_seconds(like, "maf"))
    assert told() == (4, "like there")
    own = infer_seconds(campaign(), "truncated_normal")
    benchmark(here / products.format("truncated_normal"), 3 * own)
    assert told() == (3, OTHER)
    assert told("truncated_normal") == (3, HERE)
    benchmark(here / products.format("nsf"), 2 * infer_seconds(campaign(), "nsf"))
    assert told() == (2, HERE)


def test_what_cannot_be_known_yet_is_not_guessed(here: Path) -> None:
    nowhere = campaign(campaign="nowhere")
    estimates = Estimates(Work(nowhere))
    assert estimates.seconds("search", {}) is None
    assert estimates.seconds("somebody_elses_rule", {}) is None
    assert estimates.seconds("simulate", {"split": "train"}) is not None
    benchmark(nowhere.results / "benchmarks/search.tsv", 7.0)
    assert Estimates(Work(nowhere)).seconds("search", {}) == (7.0, HERE)
    benchmark(here / "simulations/train.tsv", 7.0)
    (here / "simulations/test.tsv").write_text("s\th:m:s\tmax_rss\n-\tNA\tNA\n")
    (here / "simulations/validation.tsv").write_text("s\th:m:s\tmax_rss\n")
    assert Estimates(Work(campaign())).seconds("simulate", {"split": "train"}) == (pytest.approx(7.0), HERE)
    # The table of plots is beside those of the models, and no model.
    benchmark(here / "matchups/plots.tsv", 7.0)
    matched = Estimates(Work(campaign())).seconds("match_plots", {"model": "nsf"})
    assert matched is not None and matched[1] == SHIPPED


def test_finished_jobs_are_compared_with_the_settings_they_ran_with(here: Path) -> None:
    wildcards = {"model": "nsf", "seed": "0"}
    old, new = campaign(), campaign(simulations={"train": 400_000})
    seconds = [Work(each).seconds("train", wildcards) for each in (old, new)]
    assert seconds[0] is not None and seconds[1] is not None
    benchmark(here / "models/nsf/seed0.tsv", 2 * seconds[0])
    told = Estimates(Work(new), before=Work(old)).seconds("train", wildcards)
    assert told == (pytest.approx(2 * seconds[1]), HERE)


def test_finished_jobs_raise_the_limits_and_one_that_hung_does_not(here: Path, tmp_path: Path) -> None:
    wildcards = {**PLACE, "model": "nsf"}
    least = rates.RATES["infer"].least
    index_of_whole = tmp_path / "results/whole/search/index.json"
    index(tmp_path, "whole", 20, 12)
    whole = campaign(campaign="whole")
    seconds = Work(whole).seconds("infer", wildcards, clear=1.0, drawn=rates.DRAWN_AT_MOST)
    assert seconds is not None

    def minutes() -> float:
        return Limits(Work(whole, index_of_whole)).minutes("infer", wildcards, 1, 1)

    shipped = minutes()
    assert shipped == pytest.approx(SAFETY * seconds / 60, abs=1)
    usual = Work(whole).seconds("infer", wildcards)
    assert usual is not None
    folder = whole.results / f"benchmarks/products/nsf/{TILE}"
    benchmark(folder / f"{MONTH}.tsv", usual / 2, mb=90_000)
    assert minutes() == shipped, "settings or machines may have been others"
    assert Limits(Work(whole)).megabytes("infer", wildcards, 1, 2) == 2 * 108_000
    benchmark(folder / f"{MONTH}.tsv", usual * 3)
    assert minutes() == pytest.approx(3 * shipped, abs=3)
    content = json.loads(index_of_whole.read_text())
    content["tiles"][TILE]["2023-01"] = {"scenes": 12, "digest": "0"}
    index_of_whole.write_text(json.dumps(content))
    benchmark(folder / "2023-01.tsv", usual * 1.5)
    assert minutes() == pytest.approx(1.5 * shipped, abs=3)
    assert Limits(Work(campaign())).minutes("infer", wildcards, 1, 1) == least


def test_families_that_run_the_physics_for_each_draw_have_more_memory_to_train() -> None:
    work = Work(campaign(families=["nsf", "hamiltonian"]))
    nsf, hamiltonian = (
        work.megabytes("train", {"model": name, "seed": "0"}) for name in ("nsf", "hamiltonian")
    )
    assert hamiltonian > nsf
    assert set(rates.FAMILY_COSTS) == set(FAMILIES)


def test_a_plan_does_not_sum_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    known = Line("train", 2, 1.5, 0.25, 0, (HERE,), ("missing",))
    search = Line("search", 1, 0.0, 0.0, 1, (), ("missing",))

    def rows(*lines: Line) -> dict[str, str]:
        commands._tell(Plan(None, (), lines))
        return {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}

    assert re.search(r"^all +2 +1\.50 +0\.25$", rows(known)["all"])
    both = rows(known, search)
    assert re.search(r"^search +1 +\? +\? +\? +missing$", both["search"])
    assert re.search(r"^all +3 +>= 1\.50 \+ \? +>= 0\.25 \+ \?$", both["all"])
    assert "search" in both["?:"]
    assert re.search(r"^all +1 +\? +\?$", rows(search)["all"])
    partly = rows(replace(known, unknown=1))["train"]
    assert re.search(r"^train +2 +>= 1\.50 \+ \? +>= 0\.25 \+ \? +measured here", partly)
