"""How tests are shared out between processes."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay together, and so do all that share a finished campaign: it is run once."""
    for item in items:
        folder, *_ = item.path.relative_to(HERE).parts
        group = folder if folder in ("workflow", "cluster") else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
