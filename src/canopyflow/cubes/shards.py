"""Inner chunks of a sharded array, each read, encoded or appended on its own.

Reading is a seek, a read and a decompression. Zarr's own way to an inner chunk asks for the index of its
shard again and goes through an event loop and a pool of threads; for the chunks of a patch cube that takes
several times as long as the chunk itself.

Writing: Zarr's own way needs a whole shard in memory. Here chunks are encoded anywhere, in any order, and
appended to the shard's file one after the other; the index comes last.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
import zarr
from numcodecs.blosc import Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from canopyflow.errors import DataError

_REMEDY = "run the stage that writes it again"

_ABSENT = 2**64 - 1
"""Offset and length of a chunk that holds nothing but the fill value (Zarr's sharding codec, version 1.0)."""


class Shards:
    """One array of a store, cut along its first axis only; holds plain values and can be pickled.

    ``chunks``: how many inner chunks there are; ``rows``: length of each along the first axis (the last one
    may be shorter).

    Raises:
        DataError: the array is not there, or not stored as :mod:`canopyflow.cubes.layout` stores arrays.
    """

    def __init__(self, store: Path, name: str) -> None:
        try:
            array = zarr.open_array(store / name, mode="r")
        except (FileNotFoundError, KeyError, ValueError) as error:
            raise DataError(f"{store} has no {name}: {error}", _REMEDY) from error
        if not _as_written_here(array):
            raise DataError(f"{store / name} is not stored in shards", _REMEDY)
        assert array.shards is not None
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self.rows: int = array.chunks[0]
        self.chunks: int = -(-array.shape[0] // self.rows)
        self._folder = store / name
        self._fill = array.fill_value
        self._per_shard = array.shards[0] // self.rows
        self._indices: dict[int, NDArray[np.uint64]] = {}

    def read(self, number: int) -> NDArray[Any]:
        """Chunk ``number``: (rows, ...), as many rows as the array has there.

        Raises:
            DataError: its shard is broken.
        """
        first = number * self.rows
        shape = (self.rows, *self.shape[1:])
        out = np.empty(shape, self.dtype)
        shard, place = divmod(number, self._per_shard)
        path = self._folder.joinpath("c", str(shard), *["0"] * (len(shape) - 1))
        data = self._bytes(path, shard, place)
        if data is None:
            out[...] = self._fill
        else:
            # Blosc's header says how much will come out; it would leave the rest of `out` as it is.
            if int.from_bytes(data[4:8], "little") != out.nbytes:
                raise _broken(path, "a chunk has another size")
            try:
                Blosc().decode(data, out)
            except RuntimeError as error:
                raise _broken(path, str(error)) from error
        return out[: self.shape[0] - first]

    def _bytes(self, path: Path, shard: int, place: int) -> bytes | None:
        """The compressed chunk; None where the whole chunk, or its shard, holds the fill value alone."""
        if not path.exists():
            return None
        with path.open("rb") as file:
            if shard not in self._indices:
                size = 16 * self._per_shard + 4
                if path.stat().st_size < size:
                    raise _broken(path, "it is too short")
                file.seek(-size, 2)
                self._indices[shard] = _index(file.read(size), path)
            offset, length = (int(value) for value in self._indices[shard][place])
            if offset == length == _ABSENT:
                return None
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise _broken(path, "it ends within a chunk")
        return data


class ChunkEncoder:
    """Encodes inner chunks of ``array`` as Zarr would.

    Raises:
        DataError: the array is not stored as :mod:`canopyflow.cubes.layout` stores arrays.
    """

    def __init__(self, array: "zarr.Array[Any]") -> None:
        if not _in_blosc_shards(array):
            raise DataError(f"{array.path or array.store_path} is not stored in shards", _REMEDY)
        _, blosc = _sharding(array).codecs
        self.shape: tuple[int, ...] = array.chunks
        self.dtype: np.dtype[Any] = array.dtype
        self.fill: Any = array.fill_value
        shuffle = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
        self._blosc = Blosc(blosc.cname.value, blosc.clevel, shuffle[blosc.shuffle.value], blosc.blocksize)

    def encode(self, values: NDArray[Any]) -> bytes | None:
        """A chunk in full size, the fill value beyond the array's edge; None if it holds nothing else."""
        assert values.shape == self.shape and values.dtype == self.dtype, "a whole chunk"
        first = values.flat[0]
        if (first == self.fill or (first != first and self.fill != self.fill)) and self._is_empty(values):
            return None
        encoded: bytes = self._blosc.encode(np.ascontiguousarray(values))
        return encoded

    def _is_empty(self, values: NDArray[Any]) -> bool:
        return bool(np.all(np.isnan(values) if self.fill != self.fill else values == self.fill))


class ShardWriter:
    """Writes an array that is one shard (:func:`canopyflow.cubes.layout.in_one_shard`), chunk after chunk.

    The file is there with the first chunk, and can be read once the writer is closed. Chunks lie in it in
    the order in which they were appended. One that is not appended holds the fill value.
    """

    def __init__(self, store: Path, name: str) -> None:
        array = zarr.open_array(store / name, mode="r")
        if not _in_blosc_shards(array):
            raise DataError(f"{store / name} is not stored in shards", _REMEDY)
        shard = array.shards or ()
        assert all(s >= n for s, n in zip(shard, array.shape, strict=True)), "one shard"
        self._path = store.joinpath(name, "c", *["0"] * len(shard))
        counts = [s // c for s, c in zip(shard, array.chunks, strict=True)]
        self._index = np.full((*counts, 2), _ABSENT, "<u8")
        self._file: BinaryIO | None = None

    def append(self, place: Sequence[int], data: bytes) -> None:
        """Append the encoded chunk at ``place``, its number along each axis; each place has one."""
        assert (self._index[tuple(place)] == _ABSENT).all(), f"chunk {tuple(place)} of {self._path} twice"
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
        self._index[tuple(place)] = self._file.tell(), len(data)
        self._file.write(data)

    def close(self) -> None:
        """Write the index."""
        if self._file is not None:
            content = self._index.tobytes()
            self._file.write(content + google_crc32c.value(content).to_bytes(4, "little"))
            self._file.close()


def _index(data: bytes, path: Path) -> NDArray[np.uint64]:
    """Offset and length of each chunk of a shard (chunks, 2), from the end of its file."""
    content, checksum = data[:-4], int.from_bytes(data[-4:], "little")
    if google_crc32c.value(content) != checksum:
        raise _broken(path, "its index has another checksum")
    return np.frombuffer(content, "<u8").reshape(-1, 2)


def _sharding(array: "zarr.Array[Any]") -> Any:
    """The sharding codec of an array, None if it has another one."""
    codecs: Sequence[Any] = getattr(array.metadata, "codecs", ())
    return codecs[0] if [type(codec) for codec in codecs] == [ShardingCodec] else None


def _in_blosc_shards(array: "zarr.Array[Any]") -> bool:
    """Whether the array has one sharding codec with Blosc inside."""
    sharding = _sharding(array)
    return (
        sharding is not None
        and [type(codec) for codec in sharding.codecs] == [BytesCodec, BloscCodec]
        and [type(codec) for codec in sharding.index_codecs] == [BytesCodec, Crc32cCodec]
        and sharding.index_location.value == "end"
    )


def _as_written_here(array: "zarr.Array[Any]") -> bool:
    """Whether the array is in such shards, and is cut along its first axis only."""
    return _in_blosc_shards(array) and all(
        c >= s for c, s in zip(array.chunks[1:], array.shape[1:], strict=True)
    )


def _broken(path: Path, why: str) -> DataError:
    return DataError(f"shard {path} cannot be read: {why}", _REMEDY)
