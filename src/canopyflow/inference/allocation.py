"""Dask in the cores, memory and GPUs that a job was given, on one node or on several.

On one node the workers are processes of a LocalCluster. Several nodes of one SLURM allocation are filled
by a step of their own: ``srun`` starts this module once per worker and once for the scheduler, and
dask-jobqueue's SLURMRunner gives each process its part.
"""

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import torch
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin

from canopyflow.errors import CanopyflowError
from canopyflow.models.runtime import THREADS, one_thread

Map = Callable[..., Iterable[Any]]
"""What the built-in ``map`` is: a function and as many iterables as it has arguments; results in order."""

log = logging.getLogger("canopyflow")

_ITSELF_MB = 500
"""Memory of the process that hands out the work, beside that of its workers."""

_START_SECONDS = 300
"""Longest wait for the workers of other nodes: they import torch from a shared disk."""

_DASK = {
    "distributed.admin.large-graph-warning-threshold": "1GB",
    # Results are small, so there is nothing to spill: a worker that has used up its memory is ended and
    # its task fails with a clear error. Pausing, Dask's default, would hold the job up for ever.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.scheduler.allowed-failures": 0,
    # Dask lets workers give freed memory back at once. Buffers of some MB, which every layer of a network
    # takes and frees, would then be new to the kernel each time: two thirds of the time of a map.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**28,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
}


@dataclass(frozen=True)
class Allocation:
    """What one job may use: ``workers`` and ``memory_mb`` (None: no limit) on each of ``nodes``."""

    workers: int = 1
    memory_mb: int | None = None
    nodes: int = 1

    @property
    def worker_memory(self) -> int:
        """Bytes of one worker; 0, Dask's word for no limit, if there is none."""
        if self.memory_mb is None:
            return 0
        share = (self.memory_mb - _ITSELF_MB) * 1_000_000 // self.workers
        if share <= 0:
            raise CanopyflowError(
                f"{self.memory_mb} MB are too little for {self.workers} Dask workers",
                "raise mem_mb of the rule, or lower its threads",
            )
        return share


def pinned_device(device: str, worker: str | int) -> str:
    """The device of one worker; GPUs are dealt out in turn by the number at the end of its name.

    Counted are the GPUs that the process sees: SLURM hides those of other jobs.
    """
    if device != "cuda":
        return device
    place = int(str(worker).rpartition("-")[2])
    return f"cuda:{place % torch.cuda.device_count()}"


@contextmanager
def spread(allocation: Allocation) -> Iterator[Map]:
    """A ``map`` over the workers of the allocation; over this process alone where there is one.

    Functions and arguments have to be picklable. Wherever a call runs, it runs on one thread, and so does
    this process meanwhile: sums, and results, do not depend on the number of workers.
    """
    if allocation.workers == allocation.nodes == 1:
        with one_thread():
            yield map
    else:
        with dask_client(allocation) as client:
            yield client.get_executor(pure=False).map


@contextmanager
def dask_client(allocation: Allocation) -> Iterator[Client]:
    """A Dask cluster in the allocation; this process and its workers use one thread of torch each.

    Raises CanopyflowError if a worker uses more than its share of the memory.
    """
    start = _on_this_node if allocation.nodes == 1 else _on_all_nodes
    try:
        with dask.config.set(_DASK), one_thread(), start(allocation) as client:
            client.register_plugin(OneThread())
            yield client
    except KilledWorker:
        raise CanopyflowError(
            "a Dask worker was ended under its task: it used more memory than its share "
            f"({allocation.worker_memory // 1_000_000} MB), or its node is gone",
            "raise mem_mb of the rule, or lower its threads",
        ) from None


class OneThread(WorkerPlugin):
    """Workers share the cores among them: each uses one."""

    name = "canopyflow-one-thread"

    def setup(self, worker: Any) -> None:
        torch.set_num_threads(THREADS)


@contextmanager
def _on_this_node(allocation: Allocation) -> Iterator[Client]:
    """Processes for several workers, this process for one."""
    several = allocation.workers > 1
    if several:
        log.info("dask: %d workers of %d MB", allocation.workers, allocation.worker_memory // 1_000_000)
    with (
        _scratch() as scratch,
        LocalCluster(
            local_directory=scratch,
            n_workers=allocation.workers,
            threads_per_worker=1,
            processes=several,
            dashboard_address=None,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            # Of one worker in this process the limit is the job's own, held by SLURM.
            memory_limit=allocation.worker_memory if several else 0,
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for the workers' files, of which there are few: there is no spilling.

    Dask's own would be shared with all jobs on the node, under a lock that a job which is stopped keeps.
    """
    return tempfile.TemporaryDirectory(prefix="canopyflow-dask-")


@contextmanager
def _on_all_nodes(allocation: Allocation) -> Iterator[Client]:
    """A job step of one scheduler and ``nodes * workers`` workers, which ends with the block."""
    if "SLURM_JOB_ID" not in os.environ:
        raise CanopyflowError(
            f"{allocation.nodes} nodes were asked for, and this is no SLURM job", "set `nodes` to 1"
        )
    workers = allocation.nodes * allocation.workers
    # In the folder of the run, which all nodes see.
    with tempfile.TemporaryDirectory(prefix=".dask-", dir=".") as folder:
        file = Path(folder).resolve() / "scheduler.json"
        step = subprocess.Popen(
            _step(allocation, workers, file), env=_outside_the_step(), stdin=subprocess.DEVNULL
        )
        try:
            _wait_for_file(file, step)
            with Client(scheduler_file=str(file), timeout=_START_SECONDS) as client:
                client.wait_for_workers(workers, timeout=_START_SECONDS)
                log.info("dask: %d workers on %d nodes", workers, allocation.nodes)
                yield client
                client.shutdown()
            step.wait(timeout=60)
        finally:
            step.terminate()
            step.wait()


def _step(allocation: Allocation, workers: int, file: Path) -> list[str]:
    """The ``srun`` command. The step shares what the job's first step, this one, was given."""
    return [
        *("srun", "--overlap", "--overcommit", "--kill-on-bad-exit=0"),
        *(f"--nodes={allocation.nodes}", f"--ntasks={workers + 1}", "--cpus-per-task=1"),
        *(sys.executable, "-m", __spec__.name, str(file)),
    ]


def _outside_the_step() -> dict[str, str]:
    """The environment without the geometry of the step this process runs in, which srun would inherit."""
    keep = {"SLURM_JOB_ID", "SLURM_JOBID", "SLURM_CONF"}
    return {
        name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name in keep
    }


def _wait_for_file(file: Path, step: subprocess.Popen[bytes]) -> None:
    """Wait until the scheduler has written its address to ``file``."""
    until = time.monotonic() + _START_SECONDS
    while not file.exists():
        if step.poll() is not None or time.monotonic() > until:
            raise CanopyflowError(
                "Dask did not start on the other nodes of the allocation", "see SLURM's log of this job"
            )
        time.sleep(0.2)


def main(file: str) -> None:
    """One process of the step: the scheduler in the first, a worker in every other."""
    from dask_jobqueue.slurm import SLURMRunner

    class Runner(SLURMRunner):
        async def get_worker_name(self) -> str:
            """Unique, and ending with the worker's number on its node (see :func:`pinned_device`)."""
            return f"{self.proc_id}-{os.environ['SLURM_LOCALID']}"

    with dask.config.set(_DASK), _scratch() as scratch:
        options = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "local_directory": scratch}
        Runner(
            scheduler_file=file, client=False, scheduler_options={"dashboard": False}, worker_options=options
        )


if __name__ == "__main__":
    main(sys.argv[1])
