"""Scene by scene: what was fetched is kept, what is broken is set aside, nothing is asked for twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from fault_server import Faults, FaultServer, Reply
from rasterio.transform import from_origin
from support_archive import write_item

from canopyflow.archive.http import Client, Patience
from canopyflow.archive.search import Query, search
from canopyflow.atomic import content_digest
from canopyflow.cubes import growing
from canopyflow.cubes.growing import NOTES
from canopyflow.cubes.scenes import fetch_scenes
from canopyflow.cubes.stores import open_scenes
from canopyflow.errors import ArchiveUnreachable

BANDS = ["B02", "B04", "B05", "B11"]
TILE, MONTH = "32TPT", "2022-05"
IMPATIENT = Patience(pause=0.001, silence=0.5, slowest=20_000, window=0.2, connect=0.5)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of four scenes."""
    folder = tmp_path_factory.mktemp("written")
    for day in range(1, 8, 2):
        write_item(folder, f"2022-05-0{day}", seed=day, **{"s2:mean_solar_zenith": 40.0})
    return folder


@pytest.fixture
def archive(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "archive")
    return tmp_path / "archive"


@pytest.fixture
def server(archive: Path) -> Iterator[FaultServer]:
    with FaultServer(archive) as running:
        yield running


def pinned(archive: Path, address: str | None) -> dict[str, Any]:
    """The pinned items, with addresses in place of relative hrefs."""
    area = {"": (10.7, 46.8, 10.9, 47.0)}
    found = search(
        str(archive),
        Query(
            collection="sentinel-2-l2a", areas=area, start=date(2022, 1, 1), end=date(2022, 12, 31),
            bands=BANDS, resolution=10.0, max_cloud_cover=100,
        ),
    )  # fmt: skip
    for item in found["features"]:
        for asset in item["assets"].values():
            asset["href"] = f"{address}/{asset['href']}" if address else asset["href"]
    return found


def fetch(items: dict[str, Any], out: Path, **changes: Any) -> list[dict[str, Any]]:
    arguments: dict[str, Any] = {
        "bands": BANDS, "reader": "stackstac", "asset_base": None, "view_zenith_if_unknown": 5.0,
        "client": Client(patience=IMPATIENT),
    }  # fmt: skip
    return fetch_scenes(items, TILE, MONTH, out, **(arguments | changes))


def scenes_asked(server: FaultServer) -> Counter[str]:
    """Requests for each scene, by day of the month."""
    return Counter(request.path.split("_")[2][6:8] for request in server.requests)


def problems(records: list[dict[str, Any]]) -> list[str | None]:
    return [record["problem"] for record in records]


def test_the_store_is_the_same_through_all_faults(archive: Path, server: FaultServer, tmp_path: Path) -> None:
    items = pinned(archive, server.url)
    fetch(items, tmp_path / "clean.zarr")
    server.faults = Faults(kinds=("503", "reset", "truncated", "dropped"), share=0.2, seed=2)
    assert problems(fetch(items, tmp_path / "faulty.zarr")) == [None] * 4
    assert content_digest(tmp_path / "faulty.zarr") == content_digest(tmp_path / "clean.zarr")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["archive", "clean.zarr", "faulty.zarr"]


def test_a_scene_that_cannot_be_had_is_set_aside_and_tried_again(
    archive: Path, server: FaultServer, tmp_path: Path
) -> None:
    items, out = pinned(archive, server.url), tmp_path / "out.zarr"
    fetch(items, tmp_path / "clean.zarr")
    server.permanent["*20220503*/B05.tif"] = "403"
    server.permanent["*20220505*/B04.tif"] = "corrupt"
    server.permanent["*20220507*/B04.tif"] = "stall"
    aside = problems(fetch(items, out))
    assert aside[0] is None
    for text, words in zip(
        aside[1:], (r"B05: B05.tif of", "B04: B04.tif of", "B04: B04.tif of"), strict=True
    ):
        assert text is not None and text.startswith(words)
    assert "truncated or corrupt" in str(aside[2]) and "127.0.0.1" not in "".join(map(str, aside))
    ds = open_scenes(out)
    assert np.isnan(ds.reflectance[1:]).all() and not ds.scl[1:].any()
    assert np.isfinite(ds.reflectance[0]).mean() > 0.9
    before = content_digest(out)
    # The same faults again, the same bytes; the good scene is not asked for.
    server.forget()
    assert problems(fetch(items, out)) == aside
    assert content_digest(out) == before
    assert scenes_asked(server).keys() == {"03", "05", "07"}
    server.permanent.clear()
    assert problems(fetch(items, out)) == [None] * 4
    assert content_digest(out) == content_digest(tmp_path / "clean.zarr")


@pytest.mark.parametrize(("compression", "first"), [("deflate", 2000), ("zstd", 430)])
def test_a_broken_band_is_copied_again_alone(
    archive: Path, server: FaultServer, tmp_path: Path, compression: str, first: int
) -> None:
    """A body of the right length with the wrong bytes: only unpacking shows it, here or in GDAL.

    Of a zstd block GDAL notices a broken beginning, no more: it has no checksum.
    """
    (path,) = archive.glob("*/*20220503*/B04.tif")
    with rasterio.open(path) as file:
        values, profile = file.read(1), file.profile
    with rasterio.open(path, "w", **(profile | {"compress": compression})) as file:
        file.write(values, 1)
    items = pinned(archive, server.url)
    fetch(items, tmp_path / "clean.zarr")
    server.forget()
    torn = bytearray(path.read_bytes()[:16384])
    torn[first:3000] = bytes(3000 - first)
    held = {
        "Content-Range": f"bytes 0-16383/{path.stat().st_size}",
        "Content-Length": "16384",
        "ETag": server.etag(path),
    }
    address = f"/{path.relative_to(archive)}"
    server.scripted[address] = [Reply(206, held, bytes(torn))]
    assert problems(fetch(items, tmp_path / "out.zarr")) == [None] * 4
    assert content_digest(tmp_path / "out.zarr") == content_digest(tmp_path / "clean.zarr")
    heads = Counter(request.path for request in server.requests if request.range == (0, 16384))
    assert heads.pop(address) == 2
    assert set(heads.values()) == {1}


def test_an_archive_that_is_gone_fails_the_job_and_what_was_fetched_is_kept(
    archive: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    with FaultServer(archive) as server:
        items = pinned(archive, server.url)
        fetch(items, tmp_path / "clean.zarr")
        server.permanent["*20220505*"] = "reset"
        server.permanent["*20220507*"] = "reset"
        aside = fetch(items, tmp_path / "aside.zarr")
        assert problems(aside)[:2] == [None, None] and all(problems(aside)[2:])
        before = content_digest(tmp_path / "aside.zarr")
    with pytest.raises(ArchiveUnreachable, match=r"^the archive does not answer"):
        fetch(items, out)
    assert not out.exists()
    assert [path.name for path in tmp_path.glob(".*")] == [".out.zarr.partial"], "copied files are removed"
    # Scenes that were set aside before stay so: what they hold up is not worth an archive that is down.
    fetch(items, tmp_path / "aside.zarr")
    assert content_digest(tmp_path / "aside.zarr") == before


def test_a_killed_fetch_goes_on_with_the_scene_it_had_come_to(
    archive: Path, server: FaultServer, tmp_path: Path
) -> None:
    items, out = pinned(archive, server.url), tmp_path / "out.zarr"
    fetch(items, tmp_path / "clean.zarr")
    server.forget()
    (tmp_path / "items.json").write_text(json.dumps(items))
    script = (
        "import json, os, signal, sys\n"
        "from pathlib import Path\n"
        "from canopyflow.cubes import growing\n"
        "from canopyflow.cubes.scenes import fetch_scenes\n"
        "keep, done = growing.GrowingStore.keep, []\n"
        "def counted(self, key, record):\n"
        "    if len(done) == 2:\n"  # in the middle of the third
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    keep(self, key, record)\n"
        "    done.append(key)\n"
        "growing.GrowingStore.keep = counted\n"
        f"fetch_scenes(json.loads(Path(sys.argv[1]).read_text()), {TILE!r}, {MONTH!r}, Path(sys.argv[2]),"
        f" bands={BANDS!r}, reader='stackstac', asset_base=None, view_zenith_if_unknown=5.0)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "items.json"), str(out)]
    killed = subprocess.run(command, env=os.environ, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    server.forget()
    # What the killed job had written of it must not show when it turns out to be out of reach now.
    server.permanent["*20220505*/B05.tif"] = "403"
    assert [bool(text) for text in problems(fetch(items, out))] == [False, False, True, False]
    assert np.isnan(open_scenes(out).reflectance[2]).all()
    assert scenes_asked(server).keys() == {"05", "07"}
    server.forget()
    server.permanent.clear()
    assert problems(fetch(items, out)) == [None] * 4
    assert scenes_asked(server).keys() == {"05"}
    assert content_digest(out) == content_digest(tmp_path / "clean.zarr")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["archive", "clean.zarr", "items.json", "out.zarr"]


def test_a_new_scene_is_fetched_alone_and_all_others_are_taken_over(
    archive: Path, server: FaultServer, tmp_path: Path
) -> None:
    items, out = pinned(archive, server.url), tmp_path / "out.zarr"
    fetch(items, out)
    # In front of the others, and as Snakemake starts a job again: without the root metadata.
    write_item(archive, "2022-05-02", seed=9, platform="B")
    (out / "zarr.json").unlink()
    server.forget()
    more = pinned(archive, server.url)
    assert len(fetch(more, out)) == 5
    assert scenes_asked(server).keys() == {"02"}
    fetch(more, tmp_path / "fresh.zarr")
    assert content_digest(out) == content_digest(tmp_path / "fresh.zarr")
    # One gone, one changed.
    changed = {**more, "features": more["features"][1:]}
    changed["features"][2]["properties"]["eo:cloud_cover"] = 6.0
    server.forget()
    fetch(changed, out)
    assert len(scenes_asked(server)) == 1
    fetch(changed, tmp_path / "fresh2.zarr")
    assert content_digest(out) == content_digest(tmp_path / "fresh2.zarr")


def test_a_finished_store_is_made_again_once_its_folder_is_removed(
    archive: Path, server: FaultServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that is forced finds what a killed one does: it fetches nothing, and says how it would."""
    items, out = pinned(archive, server.url), tmp_path / "out.zarr"
    fetch(items, out)
    before = content_digest(out)
    (out / "zarr.json").unlink()
    server.forget()
    with caplog.at_level("INFO", logger="canopyflow"):
        fetch(items, out)
    assert not server.requests
    assert f"{out} holds all scenes as they are wanted; remove its folder to fetch them again" in caplog.text
    shutil.rmtree(out)
    fetch(items, out)
    assert scenes_asked(server).keys() == {"01", "03", "05", "07"}
    assert content_digest(out) == before


def test_other_settings_or_code_fetch_everything(archive: Path, server: FaultServer, tmp_path: Path) -> None:
    items, out = pinned(archive, server.url), tmp_path / "out.zarr"
    items["features"] = items["features"][:2]
    settings: dict[str, Any] = {"code": "a"}
    fetch(items, out, **settings)
    changes = [{"code": "b"}, {"reader": "odc"}, {"bands": BANDS[:-1]}, {"view_zenith_if_unknown": 6.0}]
    for change in changes:
        server.forget()
        settings |= change
        fetch(items, out, **settings)
        assert len(scenes_asked(server)) == 2, change
    fetch(items, tmp_path / "fresh.zarr", **settings)
    assert content_digest(out) == content_digest(tmp_path / "fresh.zarr")
    assert (out / NOTES).read_bytes() == (tmp_path / "fresh.zarr" / NOTES).read_bytes()


def test_a_finished_store_is_not_changed_by_one_that_takes_it_over(
    archive: Path, server: FaultServer, tmp_path: Path
) -> None:
    """Its files are linked: writing to them would change both."""
    items, out = pinned(archive, server.url), tmp_path / "out.zarr"
    fetch(items, out)
    shutil.copytree(out, tmp_path / "copy.zarr", copy_function=os.link)
    before = content_digest(tmp_path / "copy.zarr")
    items["features"][0]["properties"]["s2:processing_baseline"] = "03.01"
    fetch(items, out)
    assert content_digest(tmp_path / "copy.zarr") == before
    assert content_digest(out) != before


def harvested(archive: Path, shift: int) -> None:
    """Move the numbers of all visible bands, as an archive does that shifts pixels and does not say so."""
    for path in archive.rglob("B*.tif"):
        with rasterio.open(path, "r+") as file:
            values = file.read(1).astype(int)
            file.write(np.where(values == 0, 0, np.clip(values + shift, 1, 65535)).astype("uint16"), 1)


@pytest.mark.parametrize("choice", ["correct", "set_aside"])
def test_pixels_that_contradict_the_declared_offset(archive: Path, tmp_path: Path, choice: Any) -> None:
    items = pinned(archive, None)
    fetch(items, tmp_path / "right.zarr", asset_base=archive)
    right = open_scenes(tmp_path / "right.zarr")
    assert [s["offset"] for s in right.attrs["scenes"]] == [-1000] * 4
    # The archive has taken the offset off and says nothing.
    harvested(archive, -1000)
    records = fetch(items, tmp_path / "out.zarr", asset_base=archive, offset_contradicted=choice)
    ds = open_scenes(tmp_path / "out.zarr")
    if choice == "set_aside":
        assert all("already removed" in str(problem) for problem in problems(records))
        assert np.isnan(ds.reflectance).all()
        return
    assert [r["offset"] for r in records] == [0] * 4
    assert all("overruled: -1000" in r["offset_reason"] for r in records)
    assert all("offset_corrected" in [e["kind"] for e in r["evidence"]] for r in records)
    assert all(r["warnings"] for r in records)
    np.testing.assert_array_equal(ds.reflectance, right.reflectance)


def test_files_that_changed_since_they_were_pinned_set_their_scene_aside(
    archive: Path, server: FaultServer, tmp_path: Path
) -> None:
    items = pinned(archive, server.url)
    asset = items["features"][1]["assets"]["B11"]
    asset["canopyflow:etag"] = '"another"'
    aside = problems(fetch(items, tmp_path / "out.zarr"))
    assert [bool(text) for text in aside] == [False, True, False, False]
    assert "B11: B11.tif of" in str(aside[1]) and "changed since it was pinned" in str(aside[1])


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (from_origin(740000.0, 5200000.0, 10, 10), "lies beside the grid"),
        (from_origin(640000.0, 5200000.0, 0.05, 0.05), "0.05 m wide"),
        (from_origin(640000.0, 5200000.0, 5000, 5000), "5000 m wide"),
    ],
)
def test_a_file_that_lies_elsewhere_than_its_item_says_is_no_scene_without_data(
    archive: Path, tmp_path: Path, transform: Affine, reason: str
) -> None:
    items = pinned(archive, None)
    with rasterio.open(archive / items["features"][0]["assets"]["B04"]["href"], "r+") as file:
        file.transform = transform
    first, *others = fetch(items, tmp_path / "out.zarr", asset_base=archive)
    assert reason in first["problem"]
    assert not any(record["problem"] for record in others)


def test_what_a_kill_left_half_removed_is_fetched_again(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job dies while it removes the scratch of an older one: that has its notes, and no pixels any more."""
    whole, out = pinned(archive, None), tmp_path / "out.zarr"
    fetch(whole, tmp_path / "clean.zarr", asset_base=archive)
    fewer = {**whole, "features": whole["features"][1:]}
    with monkeypatch.context() as patch:
        patch.setattr(growing, "replace_folder", _die)
        with pytest.raises(InterruptedError):
            fetch(fewer, out, asset_base=archive)
    with monkeypatch.context() as patch:
        patch.setattr(growing.shutil, "rmtree", _remove_half)
        with pytest.raises(InterruptedError):
            fetch(whole, out, asset_base=archive)
    fetch(whole, out, asset_base=archive)
    assert content_digest(out) == content_digest(tmp_path / "clean.zarr")


def _die(*_: object) -> None:
    raise InterruptedError


def _remove_half(path: Path, ignore_errors: bool = False) -> None:
    if (path / "reflectance").is_dir():
        for chunks in (path / "reflectance/c").iterdir():
            chunks.rename(path.parent / f"removed-{chunks.name}")
        raise InterruptedError


def test_a_projection_without_a_code_is_not_taken_for_that_of_the_item(archive: Path, tmp_path: Path) -> None:
    items = pinned(archive, None)
    with rasterio.open(archive / items["features"][0]["assets"]["B04"]["href"], "r+") as file:
        file.crs = "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=bessel +units=m"
    first, *_ = fetch(items, tmp_path / "out.zarr", asset_base=archive)
    assert "a projection without an EPSG code" in first["problem"]
