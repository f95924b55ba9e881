"""What a wrong campaign file is told."""

import pytest
import yaml

from canopyflow.config import Campaign, documents_of, load_campaign, read_campaign
from canopyflow.config.files import DEMO
from canopyflow.errors import ConfigError
from canopyflow.registry import nearest

ABSENT = {"parcels": {}, "area": None, "period": None, "archive": None}
PATCHES = [{"objective": "elbo", "data": "both"}]


def phase(**keys):
    return {"training": {"phases": [keys]}}


def two(**keys):
    return {"models": {"two": {"family": "nsf", **keys}}}


@pytest.mark.parametrize(
    ("changes", "path", "hint"),
    [
        ({"famlies": ["nsf"]}, "famlies: unknown key", "did you mean 'families'?"),
        ({"families": ["nfs"]}, "families.0: unknown posterior family 'nfs'", "did you mean 'nsf'?"),
        ({"families": []}, "families: name at least one", "`models`"),
        ({"training": {"sample": 3}}, "training.sample: unknown key", "did you mean 'samples'?"),
        (
            {"training": {"batch_size": "many"}},
            "training.batch_size: ",
            "a whole number is wanted (got 'many')",
        ),
        ({"physics": {"prior": "adbt"}}, "physics.prior: unknown value 'adbt'", "did you mean 'atbd'?"),
        ({"physics": {"leaf": "prospect-pro"}}, "physics.leaf: unknown value", "'prospect-d'"),
        ({"period": {"start": "2021-02-30", "end": "2021-03-01"}}, "period.start: ", "no day 2021-02-30"),
        ({"period": {"start": "2021-05-01", "end": "2021-03-01"}}, "period: ", "is before start"),
        ({"period": {"start": "1999-05-01", "end": "1999-06-01"}}, "period: ", "first image"),
        ({"area": {"bbox": [9.0, 47.0, 8.0, 48.0]}}, "area.bbox: ", "west < east"),
        ({"area": {"bbox": [9.0, 97.0, 10.0, 98.0]}}, "area.bbox: ", "south < north"),
        ({"area": {"sites": {"a": [190.0, 4.0, 191.0, 5.0]}}}, "area.sites.a: ", "in degrees"),
        ({"area": {}}, "area: ", "exactly one of `bbox`, `sites`, `geojson`, `mgrs_tiles`, `plots`"),
        ({"area": {"bbox": [8.0, 47.0, 9.0, 48.0], "mgrs_tiles": ["32TMT"]}}, "area: ", "exactly one"),
        ({"area": {"mgrs_tiles": ["32TMT", "32TIT"]}}, "area.mgrs_tiles.1: ", "no MGRS tile 32TIT"),
        (
            {"area": {"plots": {"table": "p.csv", "buffer_metres": 0}}},
            "area.plots.buffer_metres: ",
            "more than 0 (got 0)",
        ),
        ({"archive": {"catalog": "earth-search", "collection": "landsat"}}, "archive.collection: ", "c1-l2a"),
        ({"area": {"sites": {"../up": [8.0, 47.0, 9.0, 48.0]}}}, "area: ", "letters, digits"),
        ({"campaign": "../elsewhere"}, "campaign: ", "letters, digits, _ and - only"),
        ({"archive": {"catalog": "${NOT_SET}/catalog.json"}}, "archive.catalog: ", "NOT_SET"),
        ({"evaluation": {"plots": "${NOT_SET}.csv"}}, "evaluation.plots: ", "NOT_SET"),
        ({"family_options": {"nsff": {}}}, "family_options.nsff: not among", "did you mean 'nsf'?"),
        ({"family_options": {"nsf": {"bin": 8}}}, "family_options.nsf.bin: unknown option 'bin'", "'bins'"),
        (two(family="nfs"), "models.two.family: unknown posterior family 'nfs'", "did you mean 'nsf'?"),
        (two(famly=1), "models.two.famly: unknown key", "did you mean 'family'?"),
        (two(family_options={"bin": 8}), "models.two.family_options.bin: unknown option", "'bins'"),
        ({"models": {"../up": {"family": "nsf"}}}, "models.../up: ", "letters, digits"),
        ({"models": {"nsf": {"family": "maf"}}}, "models.nsf: ", "among the families"),
        ({"models": {"plots": {"family": "maf"}}}, "models.plots: ", "a table beside"),
        (phase(objectiv="elbo"), "training.phases.0.objectiv: unknown key", "did you mean 'objective'?"),
        (phase(objective="ebo"), "training.phases.0.objective: unknown objective", "did you mean 'elbo'?"),
        (
            phase(objective="beta_elbo", options={"bta": 1.0}),
            "training.phases.0.options.bta: ",
            "did you mean 'beta'?",
        ),
        (
            phase(objective="beta_elbo", options={"beta": -1.0}),
            "training.phases.0.options.beta: ",
            "at least 0",
        ),
        (
            phase(cycle=[{"objective": "elbo"}, {"objective": "npe", "options": {"beta": 1}}]),
            "training.phases.0.cycle.1.options.beta: ",
            "known: alone",
        ),
        (phase(objective="elbo", cycle=[{"objective": "npe"}]), "training.phases.0: ", "either"),
        (phase(epochs=2), "training.phases.0: ", "either `objective` or `cycle`"),
        (phase(cycle=[{"objective": "elbo"}], options={"beta": 1}), "training.phases.0.options: ", "beside"),
        (phase(objective="npe", data="patches"), "training.phases.0.data: patches lack", "npe needs: truth"),
        (
            phase(cycle=[{"objective": "elbo"}, {"objective": "npe"}], data="both"),
            "training.phases.0.data: patches lack",
            "npe needs: truth",
        ),
        (phase(objective="elbo", data="patch"), "training.phases.0.data: ", "did you mean 'patches'?"),
        (
            {"training": {"learned_prior": "vam", "phases": PATCHES}},
            "training.learned_prior: unknown learned prior",
            "did you mean 'vamp'?",
        ),
        (
            {"training": {"learned_prior": "vamp", "phases": [{"objective": "npe"}]}},
            "training.learned_prior: vamp is fitted by no phase",
            "beta_elbo, elbo, iwae",
        ),
        ({"encoder": {"kind": "pixl"}}, "encoder.kind: unknown encoder 'pixl'", "did you mean 'pixel'?"),
        ({"encoder": {"widht": 64}}, "encoder.widht: unknown option", "did you mean 'width'?"),
        ({"encoder": {"width": True}}, "encoder.width: must be a whole number", "got true"),
        ({"encoder": {"blocks": 2.5}}, "encoder.blocks: must be a whole number", "got 2.5"),
        ({"inference": {"outputs": ["cab"]}}, "publication.variables: 'lai'", "inference.outputs"),
        ({"inference": {"outputs": ["laj"]}}, "inference.outputs.0: unknown variable", "did you mean 'lai'?"),
        ({"inference": {"refine": "yes"}}, "inference.refine: ", "importance"),
        ({"patches": {"block_metres": 30}}, "patches.block_metres: 30 m", "take at least 80"),
        ({"training": {"seeds": [-1]}}, "training.seeds.0: ", "at least 0 (got -1)"),
        ({"grid": {"bands": ["B02", "B03", "B04", "B04"]}}, "grid.bands: ", "'B04' is named twice"),
        ({"grid": {"bands": ["B02", "B03", "B09"]}}, "grid.bands.2: unknown band 'B09'", "known: B02"),
        ({"simulations": {"platforms": ["S3A"]}}, "simulations.platforms.0: unknown", "did you mean 'S2A'?"),
        ({"area": None}, "area: null", "set all three to null"),
        ({"archive": {"catalog": "earth-serch"}}, "archive.catalog: unknown", "did you mean 'earth-search'?"),
        ({"catalog": "demo"}, "catalog: unknown key here", "there is archive.catalog"),
        (
            {"period": {"start": 20210301, "end": "2021-07"}},
            "period.start: a whole day",
            "period.end: a whole day",
        ),
        ({"training": {"seeds": [True]}}, "training.seeds.0: a number is wanted", "(got true)"),
        (two(family_options={"bins": "1e1"}), "models.two.family_options.bins: must be", "write 10.0"),
        (
            {**ABSENT, "evaluation": {}, "baselines": None, "training": {"phases": PATCHES}},
            "training.phases: ",
            "no patches",
        ),
        ({**ABSENT, "baselines": None, "evaluation": {"truth": "truth"}}, "evaluation: ", "need maps"),
        ({"grid": {"resolution": 12.5}}, "grid.resolution: ", "a whole number is wanted (got 12.5)"),
        ({"masking": {"valid_scl": [42]}}, "masking.valid_scl.0: ", "at most 11 (got 42)"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_is_one_clear_line_that_opens_with_the_path_of_the_key(changes, path, hint):
    with pytest.raises(ConfigError) as caught:
        load_campaign({**DEMO, **changes})
    message = str(caught.value)
    assert message.startswith(path)
    assert hint in message
    assert len(message.splitlines()) == (2 if "20210301" in message else 1)


def test_every_mistake_is_named():
    with pytest.raises(ConfigError) as caught:
        load_campaign({**DEMO, "families": ["nfs"], "grid": {"resolution": 1}})
    assert "families.0: " in str(caught.value) and "\ngrid.resolution: " in str(caught.value)


def test_a_list_whose_only_item_is_wrong_is_not_called_too_short_as_well():
    with pytest.raises(ConfigError) as caught:
        load_campaign({**DEMO, "simulations": {"platforms": ["s2b"]}})
    hint = "did you mean 'S2B'? known: S2A, S2B, S2C"
    assert str(caught.value) == f"simulations.platforms.0: unknown satellite 's2b'; {hint}"


def test_mistakes_between_blocks_are_said_beside_those_within_one():
    wrong = {"grid": {"resolution": 1}, "inference": {"outputs": ["cab"]}, "family_options": {"maf": {}}}
    with pytest.raises(ConfigError) as caught:
        load_campaign({**DEMO, **wrong})
    keys = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert sorted(keys) == ["family_options.maf", "grid.resolution", "publication.variables"]
    # No bands, no outputs: what they would be compared with is not said to be wrong.
    with pytest.raises(ConfigError) as caught:
        load_campaign({**DEMO, "inference": {"outputs": ["laj"]}, "publication": {"variables": ["cab"]}})
    assert str(caught.value).startswith("inference.outputs.0: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), ("", "holds no keys"), ("a: [", "is no YAML"), ("- a", "holds no keys")],
)
def test_a_file_that_is_no_campaign_file_is_named(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_campaign(path)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def told(tmp_path, text, others=()):
    """Lines about a file, each without its name."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    documents = [*documents_of([path]), *others]
    with pytest.raises(ConfigError) as caught:
        load_campaign(documents[0].values, documents)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def test_all_that_is_wrong_in_a_file_is_said_with_its_line(tmp_path):
    text = """campaign: x
area: {bbox: [1.3, 43.5, 1.45]}
period:
  start: 2021-03-01
  end: 2021-02-30
archive:
  catalog: demo
grid: {resolution: 10}
famlies: [nsf]
grid: {bands: [B03]}
"""
    assert told(tmp_path, text) == [
        "2: area.bbox: 4 values are wanted, and 3 given",
        "5: period.end: the calendar has no day 2021-02-30",
        f"9: famlies: unknown key; {nearest('famlies', Campaign.model_fields)}",
        "10: grid: given twice, first in line 8: keep one of them",
    ]


def test_a_key_that_is_missing_is_missed_where_it_belongs(tmp_path):
    said = told(tmp_path, "campaign: x\narea: {bbox: [1, 43, 2, 44]}\nperiod:\n  start: 2021-03-01\n")
    assert said[0] == " archive: this key is required and missing"
    assert said[1:] == ["3: period.end: this key is required and missing"]


def test_what_the_command_line_says_instead_has_no_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(DEMO))
    documents = documents_of([path])
    with pytest.raises(ConfigError) as caught:
        load_campaign({**documents[0].values, "seed": "x"}, documents)
    assert str(caught.value) == "seed: a whole number is wanted (got 'x')"


def test_files_of_another_workflow_are_its_own(tmp_path):
    theirs, ours = tmp_path / "theirs.yaml", tmp_path / "ours.yaml"
    theirs.write_text("samples: [a]\nsamples: [b]\ncanopyflow: {seed: 1}\n")
    ours.write_text("seed: 1\n")
    assert [document.name for document in documents_of([theirs, ours])] == [str(ours)]
