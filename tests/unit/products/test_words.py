"""What variables and flags mean: complete, and said in the units of the vocabulary."""

import pytest

from canopyflow.evaluation.measurands import MEASURANDS as MEASURED
from canopyflow.products.words import (
    FLAG_MEANINGS,
    MEASURANDS,
    SYMBOLS,
    attribution,
    flags_in_words,
    in_words,
    pretty,
)
from canopyflow.vocabulary import DERIVED, FLAGS, SEASONAL, STATISTICS, VARIABLES


def test_every_variable_and_every_flag_has_its_meaning():
    names = {variable.name for variable in (*VARIABLES, *DERIVED, *SEASONAL)}
    assert SYMBOLS.keys() == MEASURANDS.keys() == names
    assert list(FLAG_MEANINGS) == list(FLAGS)
    assert all(in_words(statistic).endswith("of the posterior") for statistic in STATISTICS)


def test_what_is_measured_in_fields_is_written_as_field_tables_write_it():
    for name, measurand in MEASURED.items():
        assert SYMBOLS[name].lower() == measurand.symbol.lower()


@pytest.mark.parametrize(
    ("unit", "text"), [("m2 m-2", "m² m⁻²"), ("ug cm-2", "µg cm⁻²"), ("1", ""), ("degree", "°"), ("cm", "cm")]
)
def test_units_as_people_write_them(unit, text):
    assert pretty(unit) == text


def test_flags_in_words():
    assert flags_in_words(0) == "no flag: nothing is known against the value (0)"
    assert flags_in_words(130) == "out_of_domain, misfit (130)"


def test_the_attribution_names_the_years_and_never_claims_simulated_scenes():
    assert attribution({2021}) == "Contains modified Copernicus Sentinel data 2021"
    assert attribution({2023, 2019}) == "Contains modified Copernicus Sentinel data 2019-2023"
    assert attribution(set()) == "Contains modified Copernicus Sentinel data"
    assert "no Copernicus" in attribution({2021}, simulated=True)
