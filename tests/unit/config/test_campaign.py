"""The campaign: what it hands to the rules."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import get_args

import pytest

from canopyflow import registry
from canopyflow.config import load_campaign
from canopyflow.config.files import DEMO
from canopyflow.config.physics import Ingredients, Physics
from canopyflow.errors import ConfigError
from canopyflow.registry import ENCODERS, OBJECTIVES, SEASON_PRIORS, SOURCES
from canopyflow.vocabulary import DERIVED, VARIABLES

ABSENT = {"area": None, "period": None, "archive": None, "baselines": None, "parcels": {}}
PATCHES = {"phases": [{"objective": "elbo", "data": "both"}]}


def test_a_campaign_is_checked_without_torch():
    code = (
        "import sys; from canopyflow.config import load_campaign; from canopyflow.config.files import DEMO; "
        "load_campaign(DEMO).modules('nsf'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_words_of_the_physics_block_are_those_of_the_library():
    from canopyflow.physics.bands import LEAF_MODELS
    from canopyflow.physics.priors import PRIORS

    assert set(get_args(Physics.model_fields["prior"].annotation)) == {"field", *PRIORS}
    assert set(get_args(Physics.model_fields["leaf"].annotation)) == set(LEAF_MODELS)


@pytest.mark.parametrize("prior", ["field", "atbd", "uniform"])
def test_outputs_that_the_law_does_not_have_are_refused(prior):
    physics = Physics(prior=prior)
    law = registry.GENERATIVE.build(physics.generative, ("B04", "B08"), ("S2A",), **physics.options)
    known = {variable.name for variable in (*VARIABLES, *DERIVED)}
    assert set(physics.not_estimated) == known - {variable.name for variable in law.estimates}
    for name in ("gai", "psoil", "senescent"):
        changes = {"physics": {"prior": prior}, "inference": {"outputs": ["lai", name]}}
        if name in physics.not_estimated:
            with pytest.raises(ConfigError, match=rf"inference\.outputs: the {prior} law has no {name}"):
                load_campaign({**DEMO, **changes, "publication": {"variables": ["lai"]}})
        else:
            load_campaign({**DEMO, **changes, "publication": {"variables": ["lai"]}})


@pytest.mark.parametrize("prior", ["atbd", "field", *Ingredients.model_fields])
def test_the_state_has_the_variables_of_the_law(prior):
    physics = Physics(field={prior: False}) if prior in Ingredients.model_fields else Physics(prior=prior)
    law = registry.GENERATIVE.build(physics.generative, ("B04", "B08"), ("S2A",), **physics.options)
    assert sorted(physics.state) == sorted(law.space.names)


def test_what_is_read_from_the_source_is_what_the_classes_say():
    for name, objective in OBJECTIVES.items():
        assert OBJECTIVES.setting(name, "needs") == objective.needs
        assert OBJECTIVES.setting(name, "trains") == objective.trains
        assert OBJECTIVES.setting(name, "seasons_only") == objective.seasons_only
    assert {name: SOURCES.setting(name, "gives") for name in SOURCES} == {
        name: source.gives for name, source in SOURCES.items()
    }
    for name, prior in SEASON_PRIORS.items():
        assert SEASON_PRIORS.setting(name, "TABLES") == prior.TABLES
    assert OBJECTIVES.setting("elbo", "colour", "none") == "none"


def test_a_copy_with_other_values_knows_the_models_of_these():
    campaign = load_campaign(DEMO)
    before = tuple(campaign.model_blocks)
    assert campaign.model_blocks is campaign.model_blocks
    other = campaign.model_copy(update={"families": ("maf",), "baselines": ()})
    assert tuple(other.model_blocks) == ("maf",) and tuple(campaign.model_blocks) == before


def test_a_campaign_of_simulations_has_no_scenes():
    plain = load_campaign({"campaign": "plain", **ABSENT})
    assert not plain.has_scenes and not plain.uses_demo
    assert load_campaign(DEMO).has_scenes


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, True),
        ({"reference": {"observed": 0}}, False),
        ({"reference": {"observed": 0}, "training": PATCHES}, True),
        ({**ABSENT, "evaluation": {}}, False),
    ],
)
def test_patches_are_wanted_where_somebody_looks_at_them(changes, wanted):
    assert load_campaign({**DEMO, **changes}).wants_patches is wanted


def test_phases_are_handed_down_in_one_form():
    cycle = [{"objective": "elbo"}, {"objective": "beta_elbo", "options": {"beta": 2}}]
    phases = [{"objective": "npe", "epochs": 3}, {"cycle": cycle, "data": "both"}]
    single, turns = load_campaign({**DEMO, "training": {"phases": phases}}).model_dump()["training"]["phases"]
    shared = {"steps": None, "learning_rate": 0.001, "optimizer": "adamw"}
    assert single == shared | {
        "objective": "npe",
        "options": {},
        "cycle": (),
        "epochs": 3,
        "data": "simulations",
    }
    assert turns == shared | {
        "objective": None,
        "options": {},
        "cycle": ({"objective": "elbo", "options": {}}, {"objective": "beta_elbo", "options": {"beta": 2}}),
        "epochs": 10,
        "data": "both",
    }


def test_options_of_the_encoder_are_complete_and_in_the_encoders_order():
    given = load_campaign({**DEMO, "encoder": {"blocks": 1}}).encoder
    assert list(given.model_dump().items()) == [
        ("kind", "pixel"),
        ("width", 128),
        ("blocks", 1),
        ("hidden", 0.0),
    ]
    assert load_campaign(DEMO).encoder.model_dump() == {"kind": "pixel", **ENCODERS.options("pixel")}


def test_models_are_the_families_and_then_those_with_names_of_their_own():
    campaign = load_campaign(
        {
            **DEMO,
            "families": ["nsf", "maf"],
            "baselines": [],
            "family_options": {"maf": {"transforms": 2}},
            "models": {"nsf-wide": {"family": "nsf", "family_options": {"bins": 16}}},
        }
    )
    blocks = {name: (model.family, model.family_options) for name, model in campaign.model_blocks.items()}
    assert list(blocks.items()) == [
        ("nsf", ("nsf", {})),
        ("maf", ("maf", {"transforms": 2})),
        ("nsf-wide", ("nsf", {"bins": 16})),
    ]
    alone = load_campaign({**DEMO, "families": [], "baselines": [], "models": {"mine": {"family": "gev"}}})
    assert list(alone.model_blocks) == ["mine"]


def test_modules_are_those_that_the_model_and_the_stage_load_by_name():
    campaign = load_campaign(
        {
            **DEMO,
            "models": {"mine": {"family": "gev"}},
            "training": {
                "learned_prior": "vamp",
                "phases": [
                    {"cycle": [{"objective": "elbo"}, {"objective": "iwae"}], "data": "both"},
                    {"objective": "npe"},
                ],
            },
            "inference": {"refine": "importance"},
        }
    )
    model = {"posteriors.gev", "models.encoders.pixel", "models.generative.prosail", "models.priors.vamp"}
    training = {
        *(f"training.objectives.{name}" for name in ("elbo", "iwae", "npe", "summaries")),
        *(f"observations.sources.{name}" for name in ("simulations", "patches")),
    }
    inference = {"models.estimators.amortised", "models.estimators.refined", "samplers.importance"}
    for stage, expected in (
        ("training", model | training),
        ("inference", model | inference),
        (None, model | training | inference),
    ):
        found = campaign.modules("mine", stage)
        assert sorted(found) == sorted(f"canopyflow.{name}" for name in expected)
    plain = load_campaign(DEMO).modules("nsf")
    assert "canopyflow.posteriors.nsf" in plain
    assert not any("priors.vamp" in module or "refined" in module for module in plain)


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """Entries of another package, told by entry points: an objective and an encoder, one file each."""
    (tmp_path / "far_goal.py").write_text(
        "from typing import ClassVar\n"
        "from dataclasses import dataclass\n"
        "from canopyflow.training.objectives.contract import Objective\n"
        "NEEDS = frozenset({'truth'})\n"
        "@dataclass(frozen=True)\n"
        "class Base(Objective):\n"
        "    needs: ClassVar[frozenset[str]] = NEEDS\n"
        "    trains = ('encoder',)\n"
        "    power: float = 2.0\n"
        "class Far(Base):\n"
        "    pass\n"
        "OBJECTIVE = Far\n"
    )
    (tmp_path / "far_eye.py").write_text(
        "class Eye:\n"
        "    def __init__(self, bands, platforms, *, sharp: bool = True, sizes=(3, 5), tone: str = 'dark'):\n"
        "        ...\n"
        "ENCODER = Eye\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entries = {"objectives": ("far", "far_goal"), "encoders": ("eye", "far_eye")}

    def entry_points(group):
        found = entries.get(group.removeprefix("canopyflow."))
        return [EntryPoint(*found, group)] if found else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
    registry._entry_points.cache_clear()
    yield
    registry._entry_points.cache_clear()


@pytest.mark.usefixtures("foreign")
def test_an_objective_or_encoder_of_another_package_is_named_and_checked_like_any_other():
    far = {"objective": "far", "options": {"power": 3}}
    encoder = {"kind": "eye", "sizes": [7]}
    campaign = load_campaign({**DEMO, "encoder": encoder, "training": {"phases": [far]}})
    assert campaign.encoder.model_dump() == {"kind": "eye", "sharp": True, "sizes": [7], "tone": "dark"}
    assert {"far_goal", "far_eye"} < set(campaign.modules("nsf"))
    for changes, message in (
        (
            {"encoder": {"kind": "eye", "width": 3}},
            "^encoder.width: unknown option .* of encoder .eye",
        ),
        ({"encoder": {"kind": "eye", "sharp": 1}}, "^encoder.sharp: must be true or false .got 1"),
        ({"encoder": {"kind": "eye", "sizes": 3}}, "^encoder.sizes: must be a list"),
        ({"training": {"phases": [{**far, "data": "patches"}]}}, "far needs: truth"),
        ({"training": {"phases": [far], "learned_prior": "flow"}}, "is fitted by no phase"),
        (
            {"training": {"phases": [{"objective": "far", "options": {"power": float("nan")}}]}},
            "power: must be a number of at least 0 .got nan",
        ),
    ):
        with pytest.raises(registry.ConfigError, match=message):
            load_campaign({**DEMO, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": {"blocks": 0}}, "^encoder.blocks: must be a whole number of at least 1 .got 0"),
        ({"encoder": {"hidden": 1.0}}, "^encoder.hidden: must be a number of at least 0 and less than 1"),
        ({"evaluation": {"corrections": ["variance", "variance"]}}, "'variance' is named twice"),
        ({"evaluation": {"corrections": ["variance"]}}, "^evaluation.corrections: is about field plots"),
        ({"evaluation": {"measurands": {"LAI": "gai"}}}, "^evaluation.measurands: is about field plots"),
        ({"evaluation": {"label_error": [float("inf"), 0.1]}}, "evaluation.label_error.0"),
        ({"evaluation": {"label_error": [15, 12]}}, "evaluation.label_error.1"),
        (
            {"physics": {"prior": "atbd", "field": {"clumping": False}}},
            "^physics.field.clumping: is of the field law, not of prior 'atbd'",
        ),
        (
            {"models": {"table": {"estimator": "lut", "options": {"nearest": 0}}}},
            "^models.table.options.nearest: must be a whole number of at least 1",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(changes, message):
    with pytest.raises(ConfigError, match=message):
        load_campaign({**DEMO, **changes})
    assert (
        load_campaign({**DEMO, "encoder": {"hidden": 0.9, "blocks": 1}}).encoder.model_dump()["blocks"] == 1
    )


REAL = {
    "campaign": "real",
    "area": {"bbox": [7.0, 46.0, 7.1, 46.1]},
    "period": {"start": "2022-05-01", "end": "2022-05-31"},
    "archive": {"catalog": "earth-search"},
    "families": ["nsf"],
}


def test_a_real_campaign_is_compared_with_all_baselines_and_maps_none_of_them():
    plain = load_campaign(REAL)
    assert list(plain.model_blocks) == ["nsf", "climatology", "lut", "sl2p", "supervised"]
    assert list(plain.mapped) == ["nsf"] and plain.from_spectra == ()
    plots = load_campaign({**REAL, "evaluation": {"plots": "plots.csv"}})
    assert list(plots.model_blocks) == ["nsf", "climatology", "gpr", "lut", "sl2p", "supervised"]
    assert plots.from_spectra == ("climatology", "gpr", "lut", "sl2p", "supervised")
    assert list(load_campaign({**REAL, "baselines": []}).model_blocks) == ["nsf"]
    # Whoever asks for the demo or for simulations says so.
    assert list(load_campaign({**REAL, "archive": {"catalog": "demo"}}).model_blocks) == ["nsf"]
    assert list(load_campaign({"campaign": "plain", **ABSENT, "families": ["nsf"]}).model_blocks) == ["nsf"]


def test_a_baseline_that_is_a_model_is_mapped_and_has_options():
    campaign = load_campaign(
        {
            **REAL,
            "models": {
                "lut": {"estimator": "lut", "options": {"entries": 500}},
                "mine": {"estimator": "gpr"},
            },
            "evaluation": {"plots": "plots.csv"},
        }
    )
    assert list(campaign.mapped) == ["nsf", "lut", "mine"]
    # What is a model already is no baseline beside it; and a plot is not predicted by a map that has seen it.
    assert list(campaign.model_blocks)[3:] == ["climatology", "gpr", "sl2p", "supervised"]
    assert campaign.from_spectra == ("mine", "climatology", "gpr", "sl2p", "supervised")
    lut = campaign.model_blocks["lut"]
    assert lut.built_from == {"estimator": "lut", "options": {"entries": 500}} and lut.has_state
    assert campaign.model_blocks["mine"].needs_labels and not campaign.model_blocks["mine"].has_state
    assert campaign.model_blocks["nsf"].built_from == {"family": "nsf", "family_options": {}}


def test_modules_of_a_baseline_are_its_own_file_and_the_law():
    campaign = load_campaign({**REAL, "evaluation": {"plots": "plots.csv"}})
    law = "canopyflow.models.generative.field"
    assert campaign.modules("lut", "inference") == ("canopyflow.models.estimators.lut", law)
    source = "canopyflow.observations.sources.simulations"
    assert campaign.modules("lut", "training") == ("canopyflow.models.estimators.lut", law, source)
    assert campaign.modules("gpr", "training") == ("canopyflow.models.estimators.gpr", law)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baselines": ["gpr"]}, "baselines: gpr is fitted to field plots; give evaluation.plots"),
        ({"models": {"a": {"estimator": "gpr"}}}, "models.a: gpr is fitted to field plots"),
        ({"baselines": ["slp2"]}, "baselines.0: unknown baseline 'slp2'; did you mean 'sl2p'?"),
        ({"baselines": ["refined"]}, "baselines.0: unknown baseline 'refined'"),
        (
            {"baselines": ["lut"], "models": {"lut": {"estimator": "lut"}}},
            "baselines: lut is a model of this",
        ),
        ({"models": {"a": {"estimator": "lut", "family": "nsf"}}}, "models.a.family: lut is a baseline"),
        ({"models": {"a": {}}}, "models.a.family: give a family, a baseline as `estimator`"),
        ({"models": {"a": {"estimator": "lut", "options": {"size": 3}}}}, "models.a.options.size: "),
        ({"models": {"a": {"family": "nsf", "options": {"bins": 3}}}}, "models.a.options: those of a family"),
        ({"models": {"a": {"estimator": "sampled"}}}, "models.a.estimator: unknown estimator 'sampled'"),
    ],
)
def test_what_cannot_be_a_baseline_is_said(changes, message):
    with pytest.raises(ConfigError) as raised:
        load_campaign({**REAL, **changes})
    assert message in str(raised.value)
