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


class InChunks:
    """A function of (V, n) and (3, n) tensors and constants, compiled and applied to any batch."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.kernel = torch.compile(function, dynamic=False, fullgraph=True)

    def __call__(self, variables: Tensor, angles: Tensor, constants: tuple[Tensor, ...]) -> Tensor:
        """(node, ...) of ``variables`` (..., V) and ``angles`` (..., 3), broadcast."""
        shape = torch.broadcast_shapes(variables.shape[:-1], angles.shape[:-1])
        inputs = [x.expand(*shape, x.shape[-1]).reshape(-1, x.shape[-1]).T for x in (variables, angles)]
        count, chunk = inputs[0].shape[1], CHUNK.get(variables.device.type, CHUNK_ELSEWHERE)
        parts = [
            self.kernel(*(_filled(x[:, at : at + chunk], chunk) for x in inputs), *constants)
            for at in range(0, count, chunk)
        ]
        whole = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        return whole[:, :count].reshape(-1, *shape)


def _filled(columns: Tensor, size: int) -> Tensor:
    """``columns`` contiguous, the last one repeated up to ``size``."""
    missing = size - columns.shape[1]
    if missing:
        columns = pad(columns.unsqueeze(0), (0, missing), mode="replicate").squeeze(0)
    return columns.contiguous()
