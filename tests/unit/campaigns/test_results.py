"""`canopyflow results`: the verdict, and only paths that exist."""

import pytest
from tiny_campaign import write_campaign

from canopyflow.campaigns.results import lines
from canopyflow.errors import DataError


def test_the_verdict_and_paths_that_exist(tmp_path):
    folder = write_campaign(tmp_path / "tiny")
    text = "\n".join(lines(folder))
    assert "* good" in text and "Take good: of 3 models" in text
    assert "3 scenes in 1 tile-month" in text
    assert f"tables:   {folder / 'comparison'}" in text and f"matchups: {folder / 'matchups'}" in text
    assert "published" not in text and "index.html" not in text and "parcels" not in text
    for place in ("index.html", "published/catalog.json", "parcels/nsf.csv", "parcels/maf.csv"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).touch()
    text = "\n".join(lines(folder))
    assert f"page:     {folder / 'index.html'}, open it in a browser" in text
    assert f"STAC:     {folder / 'published/catalog.json'}, the root of all items" in text
    assert f"parcels:  {folder / 'parcels/maf.csv'} and 1 more" in text


def test_outlines_alone_are_no_tables_of_parcels(tmp_path):
    folder = write_campaign(tmp_path / "tiny")
    (folder / "parcels").mkdir()
    (folder / "parcels/parcels.parquet").touch()
    assert "parcels" not in "\n".join(lines(folder))


def test_plots_without_a_pixel_are_said_aloud(tmp_path):
    text = "\n".join(lines(write_campaign(tmp_path, status="outside every scene")))
    assert "!! NO FIELD PLOT FOUND A PIXEL" in text


def test_all_scores_follow_if_asked(tmp_path):
    folder = write_campaign(tmp_path)
    assert "Held-back simulations" not in "\n".join(lines(folder))
    assert "Held-back simulations" in "\n".join(lines(folder, full=True))


def test_a_campaign_that_did_not_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="run snakemake for this campaign first"):
        list(lines(tmp_path))
