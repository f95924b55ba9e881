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
from torch.nn.functional import pad

MOST_STEPS = 12
CHUNK = {"cpu": 1024}
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
    """``function`` as kernels for inputs of one shape."""
    # One loop over all of it is a chain so long that the processor has no second sample to turn to while
    # it waits for the first: loops of a few steps each, over a chunk in the cache, are faster.
    fused: Callable[..., Tensor] = torch.compile(
        function, dynamic=False, fullgraph=True, options={"max_fusion_size": MOST_STEPS}
    )
    return fused


def in_chunks(kernel: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """(..., m) of a ``kernel`` from (k, CHUNK) tensors to (m, CHUNK), over ``inputs`` (..., k), broadcast."""
    shape = torch.broadcast_shapes(*(x.shape[:-1] for x in inputs))
    columns = [x.expand(*shape, x.shape[-1]).reshape(-1, x.shape[-1]).T.contiguous() for x in inputs]
    count, chunk = columns[0].shape[1], CHUNK.get(inputs[0].device.type, CHUNK_ELSEWHERE)
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
