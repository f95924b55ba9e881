"""Functions fit on a screen and take few arguments."""

import ast
from collections.abc import Iterator
from pathlib import Path

import canopyflow

SOURCE = Path(canopyflow.__file__).parent
LONGEST, MOST = 80, 8


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(SOURCE)}: {node.name}", node


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    a = node.args
    names = [argument.arg for argument in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def test_no_function_is_longer_than_a_screen() -> None:
    assert not [name for name, node in functions() if (node.end_lineno or 0) - node.lineno >= LONGEST]


def test_no_function_takes_more_arguments_than_can_be_told_apart() -> None:
    """What takes more takes an options class. Those of a command are options, which are given by name."""
    plain = (each for each in functions() if not each[0].startswith("cli.py: "))
    assert not [name for name, node in plain if parameters(node) > MOST]
