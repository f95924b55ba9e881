"""What decides about searching and fetching again."""

import shutil

import pytest

from canopyflow.archive.pinned import (
    by_tile_month,
    digest,
    grid_of,
    index,
    items_of,
    read_index,
    static_digest,
    tile_months,
)
from canopyflow.atomic import write_json
from canopyflow.errors import ArchiveError


def feature(name, day, tiles):
    return {
        "id": name,
        "properties": {"datetime": f"{day}T10:00:00Z"},
        "canopyflow": {"tile": tiles, "month": day[:7]},
    }


def test_items_are_grouped_by_tile_and_month_in_order_of_time():
    pinned = {
        "features": [
            feature("b", "2021-03-20", ["31TGM"]),
            feature("a", "2021-03-25", ["31TGM", "32TLS"]),
            feature("c", "2021-04-01", ["32TLS"]),
        ]
    }
    assert tile_months(pinned) == [("31TGM", "2021-03"), ("32TLS", "2021-03"), ("32TLS", "2021-04")]
    assert [f["id"] for f in items_of(pinned, "31TGM", "2021-03")] == ["b", "a"]
    assert items_of(pinned, "31TGM", "2021-04") == []
    assert sum(map(len, by_tile_month(pinned).values())) == 4


def test_a_static_catalogue_is_known_by_its_content_not_by_its_place(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "scene").mkdir(parents=True)
    (here / "catalog.json").write_text("{}")
    (here / "scene/item.json").write_text("{}")
    shutil.copytree(here, there)
    assert (
        static_digest(here / "catalog.json") == static_digest(there / "catalog.json") == static_digest(there)
    )
    (there / "scene/item.json").write_text('{"more": 1}')
    assert static_digest(here) != static_digest(there)


def test_an_image_of_another_size_makes_another_catalogue(tmp_path):
    (tmp_path / "catalog.json").write_text("{}")
    image = tmp_path / "B04.tif"
    image.write_bytes(b"torn")
    torn = static_digest(tmp_path)
    image.write_bytes(b"whole file")
    assert static_digest(tmp_path) != torn
    (tmp_path / "notes.txt").write_text("nothing that a search looks at")
    image.write_bytes(b"torn")
    assert static_digest(tmp_path) == torn


def test_a_static_catalogue_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArchiveError, match="nowhere"):
        static_digest(tmp_path / "nowhere/catalog.json")


def test_the_index_has_every_tile_month_and_its_digest_changes_with_its_own_items_only(tmp_path):
    grid = {"epsg": 32631, "bounds": [0.0, 0.0, 20.0, 20.0], "resolution": 20.0}
    pinned = {
        "features": [{**feature("a", "2021-03-20", ["31TGM"]), "assets": {"B02": {"href": "a"}}}],
        "lock": {
            "catalog": "c",
            "collection": "s",
            "query": {"areas": {"": [6.0, 46.0, 7.0, 47.0]}},
            "tiles": {"31TGM": grid, "32TLS": grid},
        },
    }
    write_json(tmp_path / "index.json", index(pinned))
    before = read_index(tmp_path / "index.json")
    assert before["31TGM", "2021-03"] == {
        "scenes": 1,
        "digest": digest(items_of(pinned, "31TGM", "2021-03"), grid_of(pinned, "31TGM")),
    }
    pinned["features"].append({**feature("b", "2021-03-25", ["32TLS"]), "assets": {"B02": {"href": "b"}}})
    write_json(tmp_path / "index.json", index(pinned))
    after = read_index(tmp_path / "index.json")
    assert sorted(after) == [("31TGM", "2021-03"), ("32TLS", "2021-03")]
    assert after["31TGM", "2021-03"] == before["31TGM", "2021-03"]
    pinned["features"][0]["assets"]["B02"]["href"] = "another"
    assert index(pinned)["tiles"]["31TGM"]["2021-03"] != before["31TGM", "2021-03"]


def test_a_file_that_is_no_index_is_named(tmp_path):
    (tmp_path / "index.json").write_text("[]")
    with pytest.raises(ArchiveError, match=r"index\.json is no index of a search"):
        read_index(tmp_path / "index.json")
