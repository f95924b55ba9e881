"""Reading: the right pixels from both readers, and broken files told from broken connections."""

from __future__ import annotations

import warnings
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import rasterio
from fault_server import FaultServer
from support_archive import BANDS, UTM, write_item

from canopyflow.archive.assets import Archive, obtain
from canopyflow.archive.grid import Grid
from canopyflow.archive.http import Client, Patience
from canopyflow.archive.items import SCL, Item
from canopyflow.archive.reader import Scene, mean_of_valid, most_frequent_class, open_reader
from canopyflow.archive.search import Query, search
from canopyflow.errors import ArchiveError, ArchiveUnreachable

WEST, NORTH = UTM[32]
NAMES = [*BANDS, SCL]


IMPATIENT = Patience(pause=0.001, silence=2.0, window=0.5, connect=0.5)


def pinned_item(root: Path) -> Item:
    found = search(
        str(root),
        Query(
            collection="sentinel-2-l2a",
            areas={"": (10.7, 46.8, 10.9, 47.0)},
            start=date(2022, 1, 1),
            end=date(2022, 12, 31),
            bands=BANDS,
            resolution=10,
            max_cloud_cover=100,
        ),
    )
    return dict(found["features"][0])


def window(resolution: float, pixels: int = 40, shift: float = 0.0) -> Grid:
    """A grid that begins outside the item, so that there are pixels without data."""
    west, north = WEST - 2 * resolution + shift, NORTH + 2 * resolution
    return Grid(32632, (west, north - pixels * resolution, west + pixels * resolution, north), resolution)


def raw(root: Path, item: Item, band: str) -> np.ndarray:
    with rasterio.open(root / item["assets"][band]["href"]) as source:
        return np.asarray(source.read(1))


def read(root: Path, name: str, item: Item, grid: Grid) -> np.ndarray:
    with TemporaryDirectory() as folder:
        assets = obtain(item, NAMES, grid, Path(folder), Archive(Client(patience=IMPATIENT), root))
        scene = Scene(open_reader(name), item, assets)
        data = np.stack(scene.read(NAMES, grid, slice(0, grid.shape[0])))
        half = slice(grid.shape[0] // 2, grid.shape[0])
        np.testing.assert_array_equal(np.stack(scene.read(NAMES, grid, half)), data[:, half])
    assert data.dtype == np.uint16
    assert data.shape == (len(NAMES), *grid.shape)
    return data


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_pixels_at_10_m_are_the_files_own(tmp_path: Path, reader: str) -> None:
    write_item(tmp_path)
    item = pinned_item(tmp_path)
    data = read(tmp_path, reader, item, window(10.0))
    assert (data[:, :2] == 0).all()
    assert (data[:, :, :2] == 0).all()
    for index, band in enumerate(NAMES):
        source = raw(tmp_path, item, band)
        fine = source if source.shape == (128, 128) else source.repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(data[index, 2:, 2:], fine[:38, :38], err_msg=band)


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_coarser_grid_averages_valid_pixels_of_the_full_resolution(tmp_path: Path, reader: str) -> None:
    """The files' overviews are nearest-neighbour: a reader that used them would fail here."""
    write_item(tmp_path)
    item = pinned_item(tmp_path)
    grid = Grid(32632, (WEST, NORTH - 1280, WEST + 1280, NORTH), 20.0)
    data = read(tmp_path, reader, item, grid)
    source = raw(tmp_path, item, "B04").astype(float)
    source[source == 0] = np.nan
    cells = source.reshape(64, 2, 64, 2).swapaxes(1, 2).reshape(64, 64, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about cells without a valid pixel
        expected = np.nan_to_num(np.rint(np.nanmean(cells, axis=-1)))
    np.testing.assert_array_equal(data[BANDS.index("B04")], expected)
    np.testing.assert_array_equal(data[BANDS.index("B05")], raw(tmp_path, item, "B05"))
    np.testing.assert_array_equal(data[-1], raw(tmp_path, item, SCL))


@pytest.mark.parametrize("grid", [window(10.0), window(20.0), window(60.0, 12), window(20.0, shift=10.0)])
def test_both_readers_agree(tmp_path: Path, grid: Grid) -> None:
    write_item(tmp_path)
    item = pinned_item(tmp_path)
    first, second = (read(tmp_path, name, item, grid) for name in ("stackstac", "odc"))
    np.testing.assert_array_equal(first, second)
    assert first.any()


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_grid_beside_the_item_is_without_data(tmp_path: Path, reader: str) -> None:
    write_item(tmp_path)
    far = Grid(32632, (WEST + 90000, NORTH - 500, WEST + 90500, NORTH), 10.0)
    assert not read(tmp_path, reader, pinned_item(tmp_path), far).any()


def test_cells() -> None:
    fine = np.array([[0, 2, 0, 0], [3, 4, 0, 0]], dtype=np.uint16)
    assert mean_of_valid(fine, 2).tolist() == [[3, 0]]
    classes = np.array([[4, 4, 4, 9], [9, 9, 4, 4]], dtype=np.uint16)
    assert most_frequent_class(classes, 2).tolist() == [[9, 4]]


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
@pytest.mark.parametrize("damage", ["truncated", "not a tiff", "missing"])
def test_broken_local_file_is_named(tmp_path: Path, reader: str, damage: str) -> None:
    write_item(tmp_path)
    item = pinned_item(tmp_path)
    path = tmp_path / item["assets"]["B8A"]["href"]
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:3000] if damage == "truncated" else b"<html>error</html>")
    with pytest.raises(ArchiveError, match=rf"B8A: B8A\.tif of {item['id']}") as caught:
        read(tmp_path, reader, item, window(10.0, 128))
    assert not isinstance(caught.value, ArchiveUnreachable)


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_over_http_a_broken_file_is_an_error_and_a_silent_server_is_unreachable(
    tmp_path: Path, reader: str
) -> None:
    write_item(tmp_path)
    item = pinned_item(tmp_path)
    local = read(tmp_path, reader, item, window(10.0))
    with FaultServer(tmp_path) as server:
        for asset in item["assets"].values():
            asset["href"] = f"{server.url}/{asset['href']}"
        np.testing.assert_array_equal(read(tmp_path, reader, item, window(10.0)), local)
        server.permanent["*/B05.tif"] = "page"
        with pytest.raises(ArchiveError, match=r"B05: B05\.tif of .* is neither a GeoTIFF nor"):
            read(tmp_path, reader, item, window(10.0))
        server.permanent["*/B05.tif"] = "403"
        with pytest.raises(ArchiveError, match=r"B05: B05\.tif of .* 403") as caught:
            read(tmp_path, reader, item, window(10.0))
        assert not isinstance(caught.value, ArchiveUnreachable)
    with pytest.raises(ArchiveUnreachable, match="does not answer"):
        read(tmp_path, reader, item, window(10.0))


def test_unknown_reader_lists_the_known() -> None:
    with pytest.raises(ArchiveError, match="odc, stackstac"):
        open_reader("gdal")
