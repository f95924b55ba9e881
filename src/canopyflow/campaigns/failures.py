"""After a run that failed: what each job complained of, together and last, where a user looks."""

import re
from pathlib import Path

BY_JOBS = r"[\d:]{8} ERROR"
"""How a job's own errors begin (see :mod:`canopyflow.jobs`)."""

BY_SLURM = "slurmstepd: error:"
"""How SLURM begins to say why it ended a job."""


def failures(logs: Path, since: float, by: str = BY_JOBS) -> list[str]:
    """The last error line of each log below ``logs`` that was written after ``since`` (seconds of the epoch).

    ``by``: the regular expression such a line begins with. Returns lines ``{log}: {message}``, sorted.
    """
    found = []
    for path in sorted(logs.rglob("*.log")):
        if path.stat().st_mtime >= since:
            errors = re.findall(rf"^{by} (.*)$", path.read_text(errors="replace"), re.MULTILINE)
            found += [f"{path}: {errors[-1]}"] if errors else []
    return found
