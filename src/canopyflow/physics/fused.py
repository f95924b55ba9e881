"""Compiling the canopy into one kernel, in chunks of one size.

``torch.compile`` makes a kernel per shape. Batches of every shape are flattened and cut into chunks
of a fixed number of samples, so one kernel (and one for the derivative) serves them all, and on a CPU what
the kernel writes in between stays in the cache.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch._functorch import config as partitioning
from torch.nn.functional import pad

CHUNK = {"cpu": 2048}
"""Samples per call of the kernel, by type of device."""
CHUNK_ELSEWHERE = 1 << 18


def can_compile() -> bool:
    """Whether there is a C++ compiler, which every compiled module needs; warns once where there is none."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler):
        return True
    warnings.warn(
        f"no C++ compiler {compiler!r}: PROSAIL runs uncompiled, some times slower; "
        "install one or set CXX, or leave out compile=True",
        RuntimeWarning,
        stacklevel=3,
    )
    return False


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function`` as kernels for inputs of one shape, one for the value and one for the derivative.

    What it reads of module constants is fixed at the first call.
    """
    fused: Callable[..., Tensor] = torch.compile(
        function,
        dynamic=False,
        fullgraph=True,
        options={
            # Few long loops: what one hands on to the next goes through memory, in a derivative much of it.
            "max_fusion_size": 1000,
            # Looking up whether constants have changed takes as long as the leaf.
            "guard_filter_fn": torch.compiler.skip_guard_on_globals_unsafe,
        },
    )
    return fused


def in_chunks(kernel: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """(..., m) of a ``kernel`` from (k, CHUNK) tensors to (m, CHUNK), over ``inputs`` (..., k), broadcast."""
    shape = torch.broadcast_shapes(*(x.shape[:-1] for x in inputs))
    columns = [x.expand(*shape, x.shape[-1]).reshape(-1, x.shape[-1]).T.contiguous() for x in inputs]
    count, chunk = columns[0].shape[1], CHUNK.get(inputs[0].device.type, CHUNK_ELSEWHERE)
    # For the derivative nothing but the inputs is kept: to compute all else again, in the cache, is faster
    # than to write it to memory and to read it there. Read when a kernel is compiled, at its first call.
    with partitioning.patch(activation_memory_budget=0.0):
        parts = [
            kernel(*(_filled(x[:, at : at + chunk], chunk) for x in columns)) for at in range(0, count, chunk)
        ]
    whole = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
    return whole[:, :count].T.reshape(*shape, -1)


def _filled(columns: Tensor, size: int) -> Tensor:
    """``columns`` contiguous, the last one repeated up to ``size``."""
    missing = size - columns.shape[1]
    if missing:
        columns = pad(columns.unsqueeze(0), (0, missing), mode="replicate").squeeze(0)
    return columns.contiguous()
