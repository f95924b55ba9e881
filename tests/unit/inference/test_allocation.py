"""What Dask does with the cores, memory and GPUs of a job."""

from __future__ import annotations

import pytest
import torch

from canopyflow.errors import CanopyflowError
from canopyflow.inference.allocation import Allocation, dask_client, pinned_device, spread


def test_gpus_are_dealt_out_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [pinned_device("cuda", worker) for worker in (0, 1, 2)] == ["cuda:0", "cuda:1", "cuda:0"]
    # On several nodes: number in the step, number on the node.
    assert [pinned_device("cuda", worker) for worker in ("3-0", "4-1")] == ["cuda:0", "cuda:1"]
    assert pinned_device("cpu", 5) == "cpu"


def test_memory_is_shared_out_among_the_workers():
    assert Allocation(workers=2, memory_mb=4500).worker_memory == 2_000_000_000
    assert Allocation(workers=2).worker_memory == 0
    with pytest.raises(CanopyflowError, match="raise mem_mb"):
        _ = Allocation(workers=1, memory_mb=400).worker_memory


def test_several_nodes_need_a_slurm_job(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(CanopyflowError, match="no SLURM job"), dask_client(Allocation(nodes=2)):
        pass


def _take(megabytes: int) -> int:
    import time

    hold = bytearray(megabytes * 1_000_000)
    time.sleep(30)
    return len(hold)


@pytest.mark.slow
def test_a_worker_beyond_its_memory_fails_its_task_and_does_not_hang():
    with (
        pytest.raises(CanopyflowError, match="more memory than its share"),
        dask_client(Allocation(workers=2, memory_mb=2500)) as client,
    ):
        client.submit(_take, 1500).result(timeout=60)


def test_one_worker_is_this_process_on_one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with spread(Allocation()) as over:
            assert over is map
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
