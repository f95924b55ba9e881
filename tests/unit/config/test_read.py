"""What a wrong campaign file is told."""

import pytest

from canopyflow.config import load_campaign, read_campaign
from canopyflow.config.files import DEMO
from canopyflow.errors import ConfigError

ABSENT = {"area": None, "period": None, "archive": None}
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
        ({"training": {"batch_size": "many"}}, "training.batch_size: ", "integer"),
        ({"physics": {"prior": "adbt"}}, "physics.prior: unknown value 'adbt'", "did you mean 'atbd'?"),
        ({"physics": {"leaf": "prospect-pro"}}, "physics.leaf: unknown value", "'prospect-d'"),
        ({"period": {"start": "2021-02-30", "end": "2021-03-01"}}, "period.start: ", "day value is outside"),
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
            "greater",
        ),
        ({"archive": {"catalog": "earth-search", "collection": "landsat"}}, "archive.collection: ", "c1-l2a"),
        ({"area": {"sites": {"../up": [8.0, 47.0, 9.0, 48.0]}}}, "area: ", "letters, digits"),
        ({"campaign": "../elsewhere"}, "campaign: ", "pattern"),
        ({"archive": {"catalog": "${NOT_SET}/catalog.json"}}, "archive.catalog: ", "NOT_SET"),
        ({"evaluation": {"plots": "${NOT_SET}.csv"}}, "evaluation.plots: ", "NOT_SET"),
        ({"family_options": {"nsff": {}}}, "family_options.nsff: not among", "did you mean 'nsf'?"),
        ({"family_options": {"nsf": {"bin": 8}}}, "family_options.nsf.bin: unknown option 'bin'", "'bins'"),
        (two(family="nfs"), "models.two.family: unknown posterior family 'nfs'", "did you mean 'nsf'?"),
        (two(famly=1), "models.two.famly: unknown key", "did you mean 'family'?"),
        (two(family_options={"bin": 8}), "models.two.family_options.bin: unknown option", "'bins'"),
        ({"models": {"../up": {"family": "nsf"}}}, "models.../up: ", "letters, digits"),
        ({"models": {"nsf": {"family": "maf"}}}, "models.nsf: ", "among the families"),
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
            "known: none",
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
        ({"encoder": {"width": True}}, "encoder.width: must be a whole number", "got True"),
        ({"encoder": {"blocks": 2.5}}, "encoder.blocks: must be a whole number", "got 2.5"),
        ({"inference": {"outputs": ["cab"]}}, "publication.variables: 'lai'", "inference.outputs"),
        ({"inference": {"outputs": ["laj"]}}, "inference.outputs.0: unknown variable", "did you mean 'lai'?"),
        ({"inference": {"refine": "yes"}}, "inference.refine: ", "importance"),
        ({"patches": {"block_metres": 30}}, "patches.block_metres: 30 m", "take at least 80"),
        ({"training": {"seeds": [-1]}}, "training.seeds.0: ", "greater than or equal to 0"),
        ({"grid": {"bands": ["B02", "B03", "B04", "B04"]}}, "grid.bands: ", "'B04' is named twice"),
        ({"grid": {"bands": ["B02", "B03", "B09"]}}, "grid.bands.2: unknown band 'B09'", "known: B02"),
        ({"simulations": {"platforms": ["S3A"]}}, "simulations.platforms.0: unknown", "did you mean 'S2A'?"),
        ({"area": None}, "area: null", "set all three to null"),
        ({**ABSENT, "evaluation": {}, "training": {"phases": PATCHES}}, "training.phases: ", "no patches"),
        ({**ABSENT, "evaluation": {"truth": "truth"}}, "evaluation: ", "need maps"),
        ({"grid": {"resolution": 12.5}}, "grid.resolution: ", "multiple of 1"),
        ({"masking": {"valid_scl": [42]}}, "masking.valid_scl.0: ", "less than or equal to 11"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_is_one_clear_line_that_opens_with_the_path_of_the_key(changes, path, hint):
    with pytest.raises(ConfigError) as caught:
        load_campaign({**DEMO, **changes})
    message = str(caught.value)
    assert message.startswith(path)
    assert hint in message
    assert "\n" not in message


def test_every_mistake_is_named():
    with pytest.raises(ConfigError) as caught:
        load_campaign({**DEMO, "families": ["nfs"], "grid": {"resolution": 1}})
    assert "families.0: " in str(caught.value) and "; grid.resolution: " in str(caught.value)


def test_a_list_whose_only_item_is_wrong_is_not_called_too_short_as_well():
    with pytest.raises(ConfigError) as caught:
        load_campaign({**DEMO, "simulations": {"platforms": ["s2b"]}})
    hint = "did you mean 'S2B'? known: S2A, S2B, S2C"
    assert str(caught.value) == f"simulations.platforms.0: unknown satellite 's2b'; {hint}"


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
