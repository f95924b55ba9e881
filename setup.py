"""What pyproject.toml cannot say: a wheel holds the workflow, which lies at the top of the repository."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TOP = Path(__file__).parent
PACKED = "canopyflow/_workflow"
"""As canopyflow.campaigns.starting looks for it."""


class BuildWithWorkflow(build_py):
    """Copies the files of ``[tool.canopyflow]`` into the package; an editable one has them already."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._workflow():
                self.mkpath(str(target.parent))
                self.copy_file(str(source), str(target), preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *(str(target) for _, target in self._workflow())]

    def _workflow(self) -> Iterator[tuple[Path, Path]]:
        patterns = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["canopyflow"]["workflow"]
        for path in (found for pattern in patterns for found in sorted(TOP.glob(pattern))):
            if path.is_file():
                yield path, Path(self.build_lib, PACKED) / path.relative_to(TOP)


setup(cmdclass={"build_py": BuildWithWorkflow})
