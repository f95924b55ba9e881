"""Files from outside: copied as far as needed, checked before a library opens them, refused by name."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from fault_server import FaultServer, Reply
from rasterio.shutil import copy as copy_raster

from canopyflow.archive.assets import Archive, LocalAsset, obtain_one, read_metadata
from canopyflow.archive.grid import Grid
from canopyflow.archive.http import Client, Patience
from canopyflow.archive.items import Item
from canopyflow.errors import ArchiveError

SIDE, WEST, NORTH = 256, 600000.0, 5200000.0
PLACE = Affine(10, 0, WEST, 0, -10, NORTH)
GRID = Grid(32632, (WEST + 200, NORTH - 900, WEST + 900, NORTH - 200), 10.0)
IMPATIENT = Patience(pause=0.001, silence=0.5, window=0.2, connect=0.5)


def numbers(dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(0).integers(1, 250, (SIDE, SIDE)).astype(dtype)


EXPECTED = numbers()[20:90, 20:90]


def write(path: Path, values: np.ndarray | None = None, **profile: Any) -> Path:
    values = numbers() if values is None else values
    kind = {
        "crs": "EPSG:32632",
        "transform": PLACE,
        "tiled": True,
        "blockxsize": 64,
        "blockysize": 64,
    } | profile
    driver = kind.pop("driver", "GTiff")
    size = {"height": values.shape[0], "width": values.shape[1]}
    with rasterio.open(path, "w", driver=driver, dtype=values.dtype, count=1, **size, **kind) as file:
        file.write(values, 1)
    return path


def item_of(href: str, **asset: Any) -> Item:
    placed = {"proj:transform": list(PLACE)[:6], "proj:shape": [SIDE, SIDE]}
    return {
        "id": "S2A_x",
        "properties": {"proj:epsg": 32632},
        "assets": {"B04": {"href": href, **placed, **asset}},
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


@pytest.fixture
def server(source: Path) -> Iterator[FaultServer]:
    with FaultServer(source) as running:
        yield running


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "ours"
    folder.mkdir()
    return folder


def remote(server: FaultServer, scratch: Path, **asset: Any) -> LocalAsset:
    item = item_of(f"{server.url}/B04.tif", **asset)
    return obtain_one(item, "B04", GRID, scratch, Archive(Client(patience=IMPATIENT), None))


def local(source: Path, scratch: Path, **asset: Any) -> LocalAsset:
    return obtain_one(item_of("B04.tif", **asset), "B04", GRID, scratch, Archive(Client(), source))


def pixels(asset: LocalAsset) -> np.ndarray:
    """The grid's part of an obtained file."""
    with rasterio.open(asset.path) as file:
        assert (file.crs.to_epsg(), file.transform) == (32632, asset.transform)
        assert file.shape == asset.shape
        assert file.nodata in (None, 0)
        left, top = (round(v) for v in ~asset.transform @ (GRID.bounds[0], GRID.bounds[3]))
        return np.asarray(file.read(1))[top : top + 70, left : left + 70]


def test_only_blocks_that_meet_the_grid_are_asked_for_and_each_once(
    source: Path, server: FaultServer, scratch: Path
) -> None:
    path = write(source / "B04.tif", np.tile(numbers(), (4, 4)))
    np.testing.assert_array_equal(pixels(remote(server, scratch)), EXPECTED)
    asked = np.zeros(path.stat().st_size, dtype=int)
    for request in server.requests:
        assert request.range is not None
        asked[slice(*request.range)] += 1
    assert asked.max() == 1
    # Four blocks of 8 kB in two rows, and the head.
    assert asked.sum() < 6 * 64 * 64 * 2 + 16384
    assert [p.name for p in scratch.iterdir()] == ["B04.tif"]


def test_a_grid_beside_the_file_costs_one_block(source: Path, server: FaultServer, scratch: Path) -> None:
    write(source / "B04.tif")
    far = Grid(32632, (WEST + 90000, NORTH - 500, WEST + 90500, NORTH), 10.0)
    item = item_of(f"{server.url}/B04.tif")
    obtain_one(item, "B04", far, scratch, Archive(Client(patience=IMPATIENT), None))
    assert sum(r.range[1] - r.range[0] for r in server.requests if r.range and r.range[1]) <= 16384 + 8192


def test_a_server_without_ranges_gives_the_whole_file(
    source: Path, server: FaultServer, scratch: Path
) -> None:
    write(source / "B04.tif")
    server.ranges = False
    np.testing.assert_array_equal(pixels(remote(server, scratch)), EXPECTED)


def test_a_jpeg_2000_is_copied_whole(source: Path, server: FaultServer, scratch: Path) -> None:
    write(source / "a.jp2", driver="JP2OpenJPEG", tiled=None, QUALITY=100, REVERSIBLE="YES").rename(
        source / "B04.tif"
    )
    there = remote(server, scratch)
    assert there.path.name == "B04.jp2"
    np.testing.assert_array_equal(pixels(there), EXPECTED)


def test_a_file_with_a_mask_is_copied_whole(source: Path, server: FaultServer, scratch: Path) -> None:
    path = write(source / "B04.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"), rasterio.open(path, "r+") as file:
        file.write_mask(numbers() > 100)
    there = remote(server, scratch)
    with rasterio.open(there.path) as file:
        np.testing.assert_array_equal(file.read_masks(1) > 0, numbers() > 100)


@pytest.mark.parametrize("how", ["item", "aux.xml", "aux.xml alone"])
@pytest.mark.parametrize("where", ["local", "remote"])
def test_a_file_that_does_not_say_where_it_lies(
    source: Path, server: FaultServer, scratch: Path, how: str, where: str
) -> None:
    path = write(source / "B04.tif", crs=None, transform=None)
    asset: dict[str, Any] = {}
    if how == "item":
        # The item speaks of a file of twice the resolution.
        asset = {"proj:transform": [5, 0, WEST, 0, -5, NORTH], "proj:shape": [2 * SIDE, 2 * SIDE]}
    else:
        wkt = rasterio.crs.CRS.from_epsg(32632).to_wkt()
        numbers_ = ", ".join(str(v) for v in PLACE.to_gdal())
        text = f"<PAMDataset><SRS>{wkt}</SRS><GeoTransform>{numbers_}</GeoTransform></PAMDataset>"
        path.with_name("B04.tif.aux.xml").write_text(text)
        asset = {"proj:transform": None, "proj:shape": None} if how == "aux.xml alone" else {}
    there = local(source, scratch, **asset) if where == "local" else remote(server, scratch, **asset)
    np.testing.assert_array_equal(pixels(there), EXPECTED)


def test_nobody_says_where_it_lies(source: Path, scratch: Path) -> None:
    write(source / "B04.tif", crs=None, transform=None)
    item = item_of("B04.tif")
    item["assets"]["B04"] = {"href": "B04.tif"}
    with pytest.raises(ArchiveError, match="says where its pixels lie"):
        obtain_one(item, "B04", GRID, scratch, Archive(Client(), source))


@pytest.mark.parametrize(
    "odd",
    [
        {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 10, 0, -1e-4, 47)},
        {"crs": "EPSG:32633"},
        {"transform": Affine(10, 0, WEST, 0, 10, NORTH)},
        {"transform": Affine(10, 1, WEST, 0, -10, NORTH)},
        {"transform": Affine(10, 0, WEST, 0, -20, NORTH)},
    ],
)
def test_pixels_that_are_not_the_grids_are_refused_by_name(
    source: Path, scratch: Path, odd: dict[str, Any]
) -> None:
    write(source / "B04.tif", **odd)
    with pytest.raises(ArchiveError, match=r"B04: B04\.tif of S2A_x"):
        local(source, scratch)


def test_scaled_numbers_become_plain_ones(source: Path, server: FaultServer, scratch: Path) -> None:
    values = (numbers() * 1e-2).astype("float32")
    values[22, 23] = np.nan
    write(source / "B04.tif", values, nodata=float("nan"))
    expected = EXPECTED * np.uint16(100)
    expected[2, 3] = 0
    for there in (
        local(source, scratch, **{"raster:bands": [{"scale": 1.0, "data_type": "float32"}]}),
        remote(server, scratch, **{"raster:bands": [{"scale": 1.0, "data_type": "float32"}]}),
    ):
        np.testing.assert_array_equal(pixels(there), expected)
    with pytest.raises(ArchiveError, match="declares no scale"):
        local(source, scratch)


def test_another_number_for_no_data_becomes_0(source: Path, scratch: Path) -> None:
    values = numbers()
    values[22, 23] = 65535
    write(source / "B04.tif", values, nodata=65535)
    assert pixels(local(source, scratch))[2, 3] == 0
    assert (pixels(local(source, scratch)) == 0).sum() == 1


def test_what_was_pinned_is_what_must_come(source: Path, server: FaultServer, scratch: Path) -> None:
    path = write(source / "B04.tif")
    size, etag = path.stat().st_size, server.etag(path)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    assert remote(server, scratch, **{"file:size": size, "canopyflow:etag": etag}).checksum == f"etag:{etag}"
    assert local(source, scratch, **{"file:size": size}).checksum == f"sha256:{sha}"
    checked = local(source, scratch, **{"file:checksum": f"1220{sha}"})
    assert checked.checksum == f"multihash:1220{sha}"
    for wrong in ({"file:size": size + 1}, {"canopyflow:etag": '"other"'}):
        with pytest.raises(ArchiveError, match=r"^B04: B04\.tif of S2A_x changed since it was pinned"):
            remote(server, scratch, **wrong)
    for wrong in ({"file:size": size + 1}, {"file:checksum": f"1220{'0' * 64}"}):
        with pytest.raises(ArchiveError, match=r"^B04: B04\.tif of S2A_x changed since it was pinned"):
            local(source, scratch, **wrong)
    server.ranges = False
    with pytest.raises(ArchiveError, match="changed since it was pinned"):
        remote(server, scratch, **{"file:checksum": f"1220{'0' * 64}"})


def test_a_file_that_changes_while_it_is_copied_is_copied_anew(
    source: Path, server: FaultServer, scratch: Path
) -> None:
    path = write(source / "B04.tif", np.tile(numbers() + np.uint16(300), (4, 4)))
    old = path.read_bytes()[:16384]
    held = {
        "Content-Range": f"bytes 0-16383/{path.stat().st_size}",
        "ETag": '"old"',
        "Content-Length": "16384",
    }
    write(source / "B04.tif", np.tile(numbers(), (4, 4)))
    server.scripted["/B04.tif"] = [Reply(206, held, old)]
    np.testing.assert_array_equal(pixels(remote(server, scratch)), EXPECTED)


def test_metadata_and_their_checksum(source: Path, server: FaultServer) -> None:
    (source / "a.xml").write_text("<a/>")
    item = {"id": "x", "properties": {}, "assets": {"m": {"href": f"{server.url}/a.xml"}}}
    archive = Archive(Client(patience=IMPATIENT), None)
    etag = server.etag(source / "a.xml")
    assert read_metadata(item, "m", archive) == (b"<a/>", f"etag:{etag}")
    item["assets"]["m"]["canopyflow:etag"] = '"other"'
    with pytest.raises(ArchiveError, match=r"^m: a\.xml of x changed since it was pinned"):
        read_metadata(item, "m", archive)
    server.permanent["*"] = "403"
    with pytest.raises(ArchiveError, match=r"^m: a\.xml of x cannot be had: (?!.*127)"):
        read_metadata(item, "m", archive)
    here = {"id": "x", "properties": {}, "assets": {"m": {"href": "a.xml"}}}
    digest = hashlib.sha256(b"<a/>").hexdigest()
    assert read_metadata(here, "m", Archive(Client(), source)) == (b"<a/>", f"sha256:{digest}")


# What a file may be that calls itself a GeoTIFF. None is opened by the driver it is made for.


@pytest.fixture
def trap() -> Iterator[list[str]]:
    """Addresses that anybody asked a listening server for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_POST = do_CONNECT = do_GET

        def log_message(self, *args: Any) -> None:
            return

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
    asked.append(f"http://127.0.0.1:{listener.server_port}")
    yield asked
    listener.shutdown()
    listener.server_close()


def disguises(folder: Path, address: str) -> dict[str, bytes]:
    """Contents that make GDAL read or write elsewhere, by driver."""
    real, outside = folder / "real.tif", folder / "outside.bin"
    size = f'rasterXSize="{SIDE}" rasterYSize="{SIDE}"'
    simple = "<SimpleSource><SourceFilename>{}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
    band = f'<VRTRasterBand dataType="UInt16" band="1">{simple}</VRTRasterBand>'
    vrt = f"<VRTDataset {size}><SRS>EPSG:32632</SRS>{band}</VRTDataset>"
    return {
        "VRT": vrt.format(real).encode(),
        "VRT over HTTP": vrt.format(f"/vsicurl/{address}/a.tif").encode(),
        "VRT after blanks": b" \n\t" + vrt.format(real).encode(),
        "MRF": (
            f'<MRF_META><Raster><Size x="{SIDE}" y="{SIDE}" c="1"/><DataType>UInt16</DataType>'
            f"<DataFile>{outside}</DataFile><IndexFile>{outside}.idx</IndexFile></Raster>"
            f"<CachedSource><Source>{real}</Source></CachedSource></MRF_META>"
        ).encode(),
        "WMS": (
            f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}/${{z}}/${{x}}/${{y}}</ServerUrl></Service>'
            "<DataWindow><UpperLeftX>0</UpperLeftX><UpperLeftY>10</UpperLeftY><LowerRightX>10</LowerRightX>"
            "<LowerRightY>0</LowerRightY><SizeX>256</SizeX><SizeY>256</SizeY></DataWindow>"
            "<Projection>EPSG:32632</Projection><BandsCount>1</BandsCount></GDAL_WMS>"
        ).encode(),
        "WCS": f"<WCS_GDAL><ServiceURL>{address}/wcs?</ServiceURL></WCS_GDAL>".encode(),
        "WMTS": f"<GDAL_WMTS><GetCapabilitiesUrl>{address}/c</GetCapabilitiesUrl></GDAL_WMTS>".encode(),
        "GTI": (
            f"<GDALTileIndexDataset><IndexDataset>/vsicurl/{address}/i.gpkg</IndexDataset></GDALTileIndexDataset>"
        ).encode(),
        "STACTA": f'{{"stac_extensions": ["tiled-assets"], "href": "{address}"}}'.encode(),
        "STACIT": f'{{"type": "FeatureCollection", "features": [], "next": "{address}"}}'.encode(),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(2048),
        "netCDF": b"CDF\x01" + bytes(2048),
        "Zarr": b'{"zarr_format": 2}',
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "ENVI header": b"ENVI\nsamples = 256\n",
        "an address": f"/vsicurl/{address}/B04.tif".encode(),
        "a web page": b"<html>error</html>",
        "nothing": b"",
        "HDF5 behind a TIFF's first bytes": b"II*\0" + bytes(508) + b"\x89HDF\r\n\x1a\n" + bytes(2048),
        "VRT behind a TIFF's first bytes": b"II*\0" + vrt.format(real).encode(),
    }


@pytest.mark.parametrize("kind", disguises(Path("/x"), "http://x"))
@pytest.mark.parametrize("where", ["local", "remote"])
def test_a_disguised_file_is_refused_and_reaches_nothing(
    source: Path, server: FaultServer, scratch: Path, trap: list[str], kind: str, where: str
) -> None:
    write(source / "real.tif")
    (source / "B04.tif").write_bytes(disguises(source, trap[0])[kind])
    before = sorted(p.name for p in source.iterdir())
    with pytest.raises(ArchiveError, match=r"^B04: B04\.tif of S2A_x is truncated or corrupt"):
        local(source, scratch) if where == "local" else remote(server, scratch)
    assert sorted(p.name for p in source.iterdir()) == before
    assert len(trap) == 1


@pytest.mark.parametrize("where", ["local", "remote"])
def test_what_lies_beside_a_file_does_not_count(
    source: Path, server: FaultServer, scratch: Path, trap: list[str], where: str
) -> None:
    """A mask, overviews, a world file and statistics that GDAL would read, or follow, as well."""
    write(source / "B04.tif")
    write(source / "B04.tif.msk", np.zeros((SIDE, SIDE), np.uint8))
    write(source / "B04.tif.ovr", np.zeros((SIDE // 2, SIDE // 2), np.uint16))
    (source / "B04.tfw").write_text("20\n0\n0\n-20\n0\n0\n")
    (source / "B04.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:4326</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform>"
        f'<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/vsicurl/{trap[0]}/o.tif</MDI></Metadata>'
        '<PAMRasterBand band="1"><NoDataValue>77</NoDataValue></PAMRasterBand></PAMDataset>'
    )
    there = local(source, scratch) if where == "local" else remote(server, scratch)
    np.testing.assert_array_equal(pixels(there), EXPECTED)
    with rasterio.open(there.path) as file:
        assert file.files == [str(there.path)]
        assert (file.read_masks(1) > 0).all()
    assert len(trap) == 1


@pytest.mark.parametrize(
    "href",
    [
        "../outside.tif",
        "a/../../outside.tif",
        "/etc/hostname",
        "file:///etc/hostname",
        "/vsicurl/http://127.0.0.1:9/a.tif",
        "s3://bucket/a.tif",
        "ftp://127.0.0.1/a.tif",
        "vrt://B04.tif?bands=1",
        "NETCDF:B04.tif:a",
    ],
)
def test_an_href_that_leaves_the_archive_is_refused(source: Path, scratch: Path, href: str) -> None:
    write(source / "B04.tif")
    copy_raster(source / "B04.tif", source.parent / "outside.tif", driver="GTiff")
    with pytest.raises(ArchiveError, match=r"^B04: .* of S2A_x (is out of reach|is missing)"):
        obtain_one(item_of(href), "B04", GRID, scratch, Archive(Client(patience=IMPATIENT), source))
    assert not list(scratch.iterdir())


def test_gdal_opens_no_connection(
    source: Path, server: FaultServer, scratch: Path, trap: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go through this proxy, which nobody else knows."""
    write(source / "B04.tif")
    monkeypatch.setenv("GDAL_HTTP_PROXY", trap[0].removeprefix("http://"))
    np.testing.assert_array_equal(pixels(remote(server, scratch)), EXPECTED)
    assert len(trap) == 1
