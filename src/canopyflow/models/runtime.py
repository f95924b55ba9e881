"""What a computation runs on, and the random numbers it draws."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from canopyflow.errors import ConfigError
from canopyflow.seeds import seed_of


def generator(*words: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by ``words``: the same words give the same numbers, whatever ran before."""
    return torch.Generator(device).manual_seed(seed_of(*words))


THREADS = 1
"""Threads of a process that maps, samples or scores: so sums depend on neither the machine nor the job."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block torch uses :data:`THREADS` threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def resolve_device(name: str) -> torch.device:
    """The device of this name, "auto" for a GPU if there is one. Raises ConfigError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} is not there", "use auto or cpu")
    return torch.device(name)
