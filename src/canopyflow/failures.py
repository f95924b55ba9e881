"""After a run that failed: what each job complained of, together and last, where a user looks."""

from __future__ import annotations

import re
from pathlib import Path


def failures(logs: Path, since: float) -> list[str]:
    """The last error line of each log below ``logs`` that was written after ``since`` (seconds of the epoch).

    Returns lines ``{log}: {message}``, sorted.
    """
    found = []
    for path in sorted(logs.rglob("*.log")):
        if path.stat().st_mtime >= since:
            errors = re.findall(r"^[\d:]{8} ERROR (.*)$", path.read_text(errors="replace"), re.MULTILINE)
            found += [f"{path}: {errors[-1]}"] if errors else []
    return found
