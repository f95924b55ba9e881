"""Whatever happened to a campaign and its archive, it ends as one to which nothing happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from histories import draw_histories


@pytest.mark.slow
def test_histories_end_like_campaigns_without_one(tmp_path: Path) -> None:
    """Some of those that benchmarks/histories.py draws by the hundred."""
    came: list[dict[str, Any]] = []
    draw_histories(tmp_path, 5, 3, came.append)
    assert len(came) >= 5
    failures = [history["failure"] for history in came if history["failure"]]
    assert not failures, failures[0]
    # What is drawn holds something that is hard.
    assert sum(history["kills"] for history in came) >= 2
