"""What a computation runs on and what its random numbers start from; the same for all."""

from __future__ import annotations

import hashlib

import torch

from canopyflow.errors import ConfigError


def seed_of(*words: int | str) -> int:
    """A 63-bit seed from ``words``, the same in every process; a trailing 0 counts, unlike in numpy's."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def resolve_device(name: str) -> torch.device:
    """The device of this name, "auto" for a GPU if there is one. Raises ConfigError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} is not there", "use auto or cpu")
    return torch.device(name)
