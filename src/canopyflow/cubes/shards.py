"""Inner chunks of a sharded array, each read on its own: a seek, a read and a decompression.

Zarr's own way to an inner chunk asks for the index of its shard again and goes through an event loop and a
pool of threads; for the chunks of a patch cube that takes several times as long as the chunk itself.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
            raise DataError(
                f"{store} has no {name}: {error}", "run the stage that writes it again"
            ) from error
        if not _as_written_here(array):
            raise DataError(f"{store / name} is not stored in shards", "run the stage that writes it again")
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


def _index(data: bytes, path: Path) -> NDArray[np.uint64]:
    """Offset and length of each chunk of a shard (chunks, 2), from the end of its file."""
    content, checksum = data[:-4], int.from_bytes(data[-4:], "little")
    if google_crc32c.value(content) != checksum:
        raise _broken(path, "its index has another checksum")
    return np.frombuffer(content, "<u8").reshape(-1, 2)


def _as_written_here(array: "zarr.Array[Any]") -> bool:
    """Whether the array has one sharding codec with Blosc inside, and is cut along its first axis only."""
    codecs: Sequence[Any] = getattr(array.metadata, "codecs", ())
    if [type(codec) for codec in codecs] != [ShardingCodec]:
        return False
    (sharding,) = codecs
    return (
        [type(codec) for codec in sharding.codecs] == [BytesCodec, BloscCodec]
        and [type(codec) for codec in sharding.index_codecs] == [BytesCodec, Crc32cCodec]
        and sharding.index_location.value == "end"
        and all(c >= s for c, s in zip(array.chunks[1:], array.shape[1:], strict=True))
    )


def _broken(path: Path, why: str) -> DataError:
    return DataError(f"shard {path} cannot be read: {why}", _REMEDY)
