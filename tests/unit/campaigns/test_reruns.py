"""What reruns what: for each edit of the source, exactly the rules that run again."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from canopyflow import registry
from canopyflow.campaigns import fingerprint, stages
from canopyflow.config import load_campaign

TOP = Path(__file__).resolve().parents[3]

FAMILIES = ("nsf", "maf", "iaf", "truncated_normal")
PINNED = {"catalog": "https://archive.example/v1", "pin": "1"}


def campaign_of(catalog, families, *objectives, baselines=(), models=None, **training):
    return load_campaign(
        {
            "models": models or {},
            "physics": {"prior": "atbd"},
            "baselines": baselines,
            "evaluation": {"plots": "plots.csv"} if baselines else {},
            "campaign": "table",
            "area": {"bbox": [6.478, 46.711, 6.522, 46.7295]},
            "period": {"start": "2021-05-01", "end": "2021-06-30"},
            "archive": catalog,
            "families": list(families),
            "training": {"phases": [{"objective": name} for name in objectives]} | training,
        }
    )


CAMPAIGNS = {
    "demo": campaign_of({"catalog": "demo"}, FAMILIES, "npe", "elbo"),
    "compared": campaign_of({"catalog": "demo"}, ["nsf"], "npe", "elbo", baselines=("gpr", "lut", "sl2p")),
    "pinned": campaign_of(PINNED, ["maf"], "npe", "iwae", learned_prior="flow"),
}


OF_SEASONS = campaign_of(
    {"catalog": "demo"}, ["nsf"], "npe", models={"season": {"family": "nsf", "dynamics": "season_gp"}}
)


def comment(path):
    path.write_text("# An edit.\n" + path.read_text() + "\n# Another one.\n")


def docstring(path):
    text = path.read_text()
    assert '"""' in text
    path.write_text(re.sub(r'"""(?=\w)', '"""An edit. ', text))


def formatting(path):
    path.write_text(ast.unparse(ast.parse(path.read_text())).replace("\n", "\n\n"))


def code(path):
    path.write_text(path.read_text() + "\n_EDIT = 1\n")


def new(path):
    assert not path.exists()
    path.write_text("_EDIT = 1\n")


def data(path):
    path.write_bytes(path.read_bytes() + b" ")


NOTHING: set[str] = set()
PARCELS = {"correlate", "extract", "match_areas"}
MODELS = {"train", "infer", "score_seed", "draw_corner", "match_model"} | PARCELS
MATCHED = {"match_plots", "match_spectra", "match_model"}
PHYSICS = {"simulate", "reference"} | MODELS
JOINED = {"evaluate"}
DRAWN = {"compare", "draw_model", "draw_maps", "draw_clouds"}
PAGE = {"report_page"}
MAPPED = {"draw_maps", "draw_trajectories"}
# What comes with the package is held to a rehearsal of its training.
SHIPPED = {"ship"}
SEARCH = {"search", "search_demo"}
ASIDE = {"list_scenes", "check_archive", "try_again"}
CUBES = {"fetch_scenes", "mask_clouds", "cut_patches"}


def of(*families):
    return {f"{rule} {family}" for rule in MODELS for family in families}


TABLE = [
    # What cannot change a number.
    ("errors.py", comment, NOTHING),
    ("errors.py", code, NOTHING),
    ("registry.py", code, NOTHING),
    ("progress.py", comment, NOTHING),
    ("progress.py", code, NOTHING),
    ("jobs.py", code, NOTHING),
    ("training/report.py", code, NOTHING),
    ("inference/allocation.py", code, NOTHING),
    ("campaigns/fingerprint.py", code, NOTHING),
    ("campaigns/syntax.py", code, NOTHING),
    ("config/campaign.py", code, SHIPPED),
    ("cli.py", code, NOTHING),
    # The ground.
    ("vocabulary.py", comment, NOTHING),
    (
        "vocabulary.py",
        code,
        PHYSICS
        | JOINED
        | MATCHED
        | PAGE
        | MAPPED
        | SHIPPED
        | {"fetch_scenes", "cut_seasons", "publish", "catalog", "gather_parcels"},
    ),
    (
        "atomic.py",
        code,
        PHYSICS
        | JOINED
        | CUBES
        | DRAWN
        | PAGE
        | SEARCH
        | ASIDE
        | MATCHED
        | MAPPED
        | {"cut_seasons", "demo_archive", "check_plots", "check_parcels", "gather_parcels"}
        | {"publish", "catalog", "ship", "track"},
    ),
    # From the archive to cubes.
    ("demo/server.py", comment, NOTHING),
    ("demo/server.py", code, {"search_demo"}),
    ("demo/search.py", code, {"search_demo"}),
    ("demo/landscape.py", code, {"demo_archive"}),
    ("archive/__init__.py", docstring, NOTHING),
    ("archive/search.py", code, SEARCH),
    ("archive/catalogue.py", code, SEARCH),
    ("archive/http.py", code, NOTHING),
    ("archive/answers.py", code, NOTHING),
    ("archive/signing.py", code, NOTHING),
    ("archive/candidates.py", code, SEARCH),
    ("archive/editions.py", code, SEARCH),
    ("archive/areas.py", code, SEARCH | SHIPPED | {"check_plots", "check_parcels"}),
    # One reader of plots, for where a campaign is and for what it is scored on.
    (
        "archive/field_tables.py",
        code,
        SEARCH
        | MATCHED
        | PAGE
        | MAPPED
        | SHIPPED
        | {"check_plots", "check_parcels", "match_areas", "evaluate"},
    ),
    (
        "evaluation/plot_dates.py",
        code,
        MATCHED | PAGE | MAPPED | {"check_plots", "match_areas", "evaluate"},
    ),
    ("archive/lock.py", code, SEARCH),
    ("archive/presets.py", code, SEARCH | SHIPPED),
    ("campaigns/search.py", code, NOTHING),
    ("config/archive.py", code, SHIPPED),
    ("archive/reader.py", formatting, NOTHING),
    ("archive/reader.py", code, {"fetch_scenes"}),
    ("archive/evidence.py", code, {"fetch_scenes", "mask_clouds", "publish"}),
    ("archive/masks.py", code, {"mask_clouds", "publish"}),
    ("archive/judgement.py", code, {"fetch_scenes"}),
    ("cubes/quarantine.py", code, {"fetch_scenes", "try_again"}),
    ("evaluation/pages/scenes.py", code, PAGE | {"list_scenes", "check_archive"}),
    ("cubes/masks.py", code, {"mask_clouds"}),
    ("cubes/patches.py", code, {"cut_patches"}),
    # Physics and models.
    ("physics/prosail.py", comment, NOTHING),
    ("physics/prosail.py", code, PHYSICS | SHIPPED),
    ("physics/data.npz", data, PHYSICS | SHIPPED),
    ("physics/__init__.py", docstring, NOTHING),
    ("physics/__init__.py", code, PHYSICS | SHIPPED),
    ("models/__init__.py", code, PHYSICS | SHIPPED),
    ("models/bundle.py", comment, NOTHING),
    ("models/bundle.py", docstring, NOTHING),
    ("models/bundle.py", code, MODELS | SHIPPED),
    ("models/generative/prosail.py", code, PHYSICS | SHIPPED),
    ("models/encoders/pixel.py", comment, NOTHING),
    ("models/encoders/pixel.py", formatting, NOTHING),
    ("models/encoders/pixel.py", code, of(*FAMILIES)),
    ("models/encoders/_spectra.py", code, MODELS | SHIPPED),
    ("models/encoders/mine.py", new, NOTHING),
    ("models/priors/flow.py", code, {rule: {"pinned"} for rule in MODELS}),
    ("models/priors/mixture.py", code, NOTHING),
    # Families.
    ("posteriors/nsf.py", comment, NOTHING),
    ("posteriors/nsf.py", docstring, NOTHING),
    # The learned prior `flow` is one of the family `nsf`.
    (
        "posteriors/nsf.py",
        code,
        {rule: {"demo", "compared"} for rule in of("nsf")} | {rule: {"pinned"} for rule in MODELS},
    ),
    ("posteriors/truncated_normal.py", code, of("truncated_normal")),
    ("posteriors/_autoregressive.py", code, of("maf", "iaf")),
    ("posteriors/mine.py", new, NOTHING),
    ("posteriors/nsf.py~", new, NOTHING),
    # Baselines.
    ("models/estimators/lut.py", comment, NOTHING),
    *((f"models/estimators/{name}.py", code, of(name)) for name in ("gpr", "lut", "sl2p")),
    ("models/estimators/climatology.py", code, NOTHING),
    ("models/baseline.py", code, MODELS | SHIPPED),
    ("training/baselines.py", code, {"train"}),
    ("evaluation/against/direct.py", code, {"match_model"}),
    ("evaluation/against/spectra.py", code, {"match_spectra", "match_model"}),
    ("evaluation/sites.py", code, {"match_spectra", "match_model", "evaluate"}),
    # Training, inference, evaluation.
    ("training/trainer.py", code, {"train"} | SHIPPED),
    ("training/domain.py", code, {"train"} | SHIPPED),
    ("training/foreign.py", code, {"train"} | SHIPPED),
    ("training/objectives/npe.py", code, {"train": {"demo", "pinned"}, "train nsf": {"compared"}}),
    ("training/objectives/iwae.py", comment, NOTHING),
    ("training/objectives/iwae.py", code, {"train": {"pinned"}}),
    ("observations/sources/simulations.py", code, {"train", "score_seed", "reference simulated"}),
    ("observations/sources/patches.py", code, {"reference observed"}),
    ("inference/maps.py", code, {"infer"}),
    ("inference/stored.py", code, JOINED | MATCHED | PARCELS | PAGE | MAPPED | {"publish"}),
    ("inference/parcels/coupling.py", code, PARCELS),
    ("inference/parcels/law.py", code, PARCELS),
    ("inference/parcels/tables.py", code, PARCELS | {"gather_parcels"}),
    ("inference/parcels/files.py", code, PARCELS | {"check_parcels"}),
    ("evaluation/against/plot_areas.py", code, {"match_areas"}),
    ("samplers/hmc.py", code, {"reference"}),
    ("evaluation/scores/metrics.py", code, PAGE | {"evaluate", "score_seed", "draw_maps"}),
    ("evaluation/scores/predictive.py", code, PAGE | {"evaluate", "score_seed", "draw_maps"}),
    ("evaluation/matched.py", code, {"evaluate"}),
    ("evaluation/corrections.py", code, {"evaluate"}),
    ("evaluation/label_error.py", code, MATCHED | PAGE | MAPPED | {"match_areas", "evaluate"}),
    (
        "evaluation/field_plots.py",
        code,
        MATCHED | PAGE | MAPPED | {"check_plots", "match_areas", "evaluate"},
    ),
    ("evaluation/against/tables.py", code, NOTHING),
    ("evaluation/figures/style.py", code, DRAWN | MAPPED | {"draw_corner"}),
    ("evaluation/pages/comparison.py", code, {"compare"}),
    ("evaluation/pages/verdict.py", code, PAGE),
    ("evaluation/pages/maps_data.py", code, PAGE),
    ("evaluation/pages/templates/maps.js", data, PAGE),
    ("evaluation/pages/templates/index.html.j2", data, PAGE),
    ("evaluation/shown.py", code, PAGE | {"draw_maps"}),
    ("campaigns/asked.py", code, NOTHING),
    ("campaigns/results.py", code, NOTHING),
    ("products/publish.py", code, {"publish"}),
    ("products/styles.py", code, {"publish", "catalog"}),
    ("products/catalog.py", code, {"catalog"}),
    ("products/model_item.py", code, {"catalog"}),
    ("products/shipping.py", code, {"ship"}),
    ("evaluation/tracking.py", code, {"track"}),
    ("shipped.py", code, NOTHING),
    ("campaigns/shipping.py", code, NOTHING),
    ("../scripts/train.py", comment, NOTHING),
    ("../scripts/train.py", code, {"train"}),
]


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the library that registries and fingerprints take for it, and of the scripts."""
    source = tmp_path_factory.mktemp("copy") / "canopyflow"
    shutil.copytree(registry.SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TOP / "scripts", source.parent / "scripts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "SOURCE", source)
        yield source


@pytest.fixture(scope="module")
def before(copied):
    return all_codes(copied)


def all_codes(source):
    fingerprint.forget()
    scripts = source.parent / "scripts"
    return {name: stages.codes(campaign, scripts) for name, campaign in CAMPAIGNS.items()}


def expected(rules, name, known):
    """Labels of the rules that run again in the campaign ``name``; a rule alone stands for all its models."""
    if isinstance(rules, dict):
        rules = {rule for rule, names in rules.items() if name in names}
    return {label for label in known if label in rules or label.split()[0] in rules}


@pytest.mark.parametrize(
    ("file", "edit", "rules"), TABLE, ids=[f"{edit.__name__} {file}" for file, edit, _ in TABLE]
)
def test_an_edit_reruns_exactly_the_rules_that_depend_on_it(copied, before, file, edit, rules):
    path = copied / file
    kept = path.read_bytes() if path.exists() else None
    edit(path)
    try:
        after = all_codes(copied)
    finally:
        path.unlink() if kept is None else path.write_bytes(kept)
    for name, codes in before.items():
        changed = {label for label in codes if codes[label] != after[name][label]}
        assert changed == expected(rules, name, codes.keys()), name


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("inference/maps.py", {"infer nsf"}),
        ("inference/seasons.py", {"infer season"}),
        ("evaluation/season_score.py", {"score_seed season"}),
        ("training/objectives/summaries.py", {"train nsf", "train season"} | SHIPPED),
        ("cubes/seasons.py", {"cut_seasons"}),
        ("models/phenology.py", of("season") - {"match_model season"}),
        ("models/trajectory.py", of("season") - {"match_model season"}),
        ("models/encoders/season.py", of("season") - {"match_model season"}),
        ("models/generative/_season.py", {"simulate_seasons season", *of("season")} - {"match_model season"}),
        ("models/priors/seasons/season_curves.py", NOTHING),
        ("options.py", NOTHING),
        (
            "models/priors/seasons/season_gp.py",
            {"simulate_seasons season", *of("season")} - {"match_model season"},
        ),
    ],
)
def test_maps_of_months_and_of_seasons_have_code_of_their_own(copied, file, rules):
    def codes():
        fingerprint.forget()
        return stages.codes(OF_SEASONS, copied.parent / "scripts")

    known, path = codes(), copied / file
    kept = path.read_bytes()
    code(path)
    try:
        after = codes()
    finally:
        path.write_bytes(kept)
    assert {label for label in known if known[label] != after[label]} == rules


def test_a_copy_elsewhere_has_the_same_fingerprints(before, monkeypatch):
    monkeypatch.undo()
    fingerprint.forget()
    assert before["demo"] == stages.codes(CAMPAIGNS["demo"], TOP / "scripts")


def test_each_rule_carries_the_fingerprint_of_its_script_and_of_what_it_works_with(before):
    text = "\n".join(path.read_text() for path in sorted((TOP / "workflow/rules").glob("*.smk")))
    blocks = re.split(r"^ *(?=(?:rule|checkpoint) \w+:$)", text, flags=re.MULTILINE)[1:]
    carried = {}
    for block in blocks:
        # The search takes one of two scripts: both the fingerprint's and the rule's are SEARCH.
        script = re.search(r'\bscript:\s*f?"\S*scripts/\{?(\w+)', block)
        given = re.search(
            r'\bcode=(?:lambda wildcards: )?code\(\s*"?(\w+)(?:\.py")?(?:,\s*(\S+))?\s*\)', block
        )
        if script is not None:
            assert given.group(1) == script.group(1)
            carried[script.group(1)] = given.group(2)
    labels = before["compared"].keys() | stages.codes(OF_SEASONS, TOP / "scripts").keys()
    varying = {label.split()[0] for label in labels if " " in label}
    assert {name for name, of in carried.items() if of == "wildcards.model"} == varying - {"reference"}
    assert {name for name, of in carried.items() if of == "wildcards.source"} == {"reference"}
    assert {name for name, of in carried.items() if of is None} == carried.keys() - varying
    assert carried.keys() - {"SEARCH"} | {"search", "search_demo"} == {label.split()[0] for label in labels}
