"""Writing a product with many workers: tasks are shared out, and what they made is appended in a fixed order.

What the tasks write is appended to the shards of the product, one file per array, in the order of the tasks;
so a product does not depend on the number of workers or on which task is ready first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr
import zarr
from distributed import WorkerPlugin, get_worker

from canopyflow.atomic import atomic_store
from canopyflow.cubes.layout import write_template
from canopyflow.cubes.shards import ShardWriter
from canopyflow.errors import DataError
from canopyflow.inference.allocation import Allocation, dask_client, pinned_device
from canopyflow.inference.blocks import BlockMapper, Part
from canopyflow.models.runtime import one_thread, resolve_device
from canopyflow.progress import track

DRAWN_SHARE = "drawn_share"
"""Attribute of a product: share of its clear pixels whose posterior was drawn from, for want of a learned
summary that can be trusted. Of a product without a clear pixel it is not said."""

MakeMapper = Callable[[str, str], BlockMapper]
"""Of the folder of the product and a device; it is called once on each worker."""


def write_product(
    out: Path,
    template: xr.Dataset,
    encoding: Mapping[str, dict[str, Any]],
    make: MakeMapper,
    places: Sequence[tuple[int, int]],
    device: str,
    allocation: Allocation,
) -> tuple[int, int]:
    """Write the product store ``out``, and return how many pixels were computed, and drawn from.

    ``template``: coordinates, attributes and shapes; all of its variables are filled by the tasks, which are
    told by their ``places`` (:meth:`canopyflow.inference.blocks.BlockMapper.__call__`).
    """
    names = [str(name) for name in template.data_vars]
    with atomic_store(out) as scratch:
        write_template(scratch, template, encoding)
        with _tasks(partial(make, str(scratch)), device, places, allocation) as tasks:
            done, drawn = _append(scratch, track(tasks, "inference"), names)
        if done:
            zarr.open_group(scratch, mode="r+", use_consolidated=False).attrs[DRAWN_SHARE] = drawn / done
    return done, drawn


def _append(product: Path, tasks: Iterator[Callable[[], Part]], names: Sequence[str]) -> tuple[int, int]:
    """Append the parts of all ``tasks``, in this order, to the shards; pixels computed, and those drawn.

    A part is removed when it is appended: with the parts that wait, the product never takes twice its space.
    """
    writers, done, drawn = {name: ShardWriter(product, name) for name in names}, 0, 0
    for task in tasks:
        part = task()
        with Path(part.file).open("rb") as file:
            for chunk in part.chunks:
                data = file.read(chunk.length)
                if len(data) != chunk.length:
                    raise DataError(
                        f"{part.file} ends within a chunk of {chunk.array}",
                        "a worker's file did not arrive whole: look for space on the disk and map again",
                    )
                writers[chunk.array].append(chunk.place, data)
        Path(part.file).unlink()
        done, drawn = done + part.pixels, drawn + part.drawn
    for writer in writers.values():
        writer.close()
    return done, drawn


@contextmanager
def _tasks(
    make: Callable[[str], BlockMapper], device: str, places: Sequence[tuple[int, int]], allocation: Allocation
) -> Iterator[list[Callable[[], Part]]]:
    """Of every place what waits for, or does, its task: in this process for one worker, else by Dask."""
    device = str(resolve_device(device))
    if allocation.workers == allocation.nodes == 1:
        with one_thread():
            mapper = make(pinned_device(device, 0))
            yield [partial(mapper, *place) for place in places]
        return
    with dask_client(allocation) as client:
        client.register_plugin(MapperPlugin(make, device))
        futures = client.map(_on_worker, *zip(*places, strict=True), pure=False) if places else []
        yield [future.result for future in futures]


class MapperPlugin(WorkerPlugin):
    """Gives each worker a mapper of its own, with one estimator and one opening of the stores."""

    name = "canopyflow-mapper"

    def __init__(self, make: Callable[[str], BlockMapper], device: str) -> None:
        self.make, self.device = make, device

    def setup(self, worker: Any) -> None:
        """Make it once per worker, on the worker's own GPU where there are several."""
        worker.canopyflow_mapper = self.make(pinned_device(self.device, worker.name))


def _on_worker(time: int, number: int) -> Part:
    worker: Any = get_worker()
    mapper: BlockMapper = worker.canopyflow_mapper
    return mapper(time, number)
