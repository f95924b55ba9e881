"""Devices, and seeds from words."""

import pytest
import torch

from canopyflow.errors import ConfigError
from canopyflow.models.runtime import generator, resolve_device
from canopyflow.seeds import seed_of


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match="'cuda:0' is not there"):
        resolve_device("cuda:0")


def test_seeds_depend_on_every_word() -> None:
    words = [("a", 1, 2), ("a", 2, 1), ("b", 1, 2), ("a", 1, 2, 0), ("a", 1)]
    assert len({seed_of(*each) for each in words}) == 5
    assert torch.equal(torch.rand(3, generator=generator("x", 1)), torch.rand(3, generator=generator("x", 1)))
