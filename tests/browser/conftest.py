"""A headless Chromium that opens files, as wide and as dark as asked.

Skipped without Debian's `chromium` and `chromium-driver`, unless CANOPYFLOW_NEEDS_BROWSER is set: then their
absence is a failure.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NEEDED = bool(os.environ.get("CANOPYFLOW_NEEDS_BROWSER"))


def absent(why: str) -> None:
    """Skip, or fail where the browser tests have to run."""
    if NEEDED:
        pytest.fail(why)
    pytest.skip(why)


class Browser:
    """One window; ``driver`` is Selenium's."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(
        self, path: Path, width: int = 1400, dark: bool = False, ready: str = "true", height: int = 900
    ) -> None:
        """Load a file and wait until the script ``ready`` is true."""
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            # What scrolls smoothly is not yet where it is clicked.
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(path.resolve().as_uri())
        self.wait(ready)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"return {script}", *arguments)

    def wait(self, script: str, seconds: float = 20) -> None:
        """Until the script is true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)

    def errors(self) -> list[str]:
        """What the console has complained about since it was asked last."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        absent("no chromium or chromedriver: apt-get install chromium chromium-driver")
    try:
        from selenium import webdriver
    except ImportError:
        absent("no selenium: pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield Browser(made)
    made.quit()
