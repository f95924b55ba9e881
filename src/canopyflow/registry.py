"""What can be named in a campaign: one small class for every kind of entry, and the ten kinds there are.

An entry is a file in the folder of its kind, called as the campaign calls it; the file says
``FAMILY = TheClass`` (``ENCODER``, ``OBJECTIVE``, ...). Another package adds one by an entry point of the
group ``canopyflow.families`` (``canopyflow.encoders``, ...) whose value is its module.

Names and options are read from the source text: checking a campaign loads no torch. A class is imported only
when it is asked for, so neither editing a sibling nor adding one changes the code that a result depends on.
"""

import ast
import importlib
import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from canopyflow.errors import ConfigError

SOURCE = Path(__file__).resolve().parent
PACKAGE = "canopyflow"

_FRAME = {"__init__", "contract"}
"""Modules of such a folder that are no entries; further ones open with an underscore."""


class Registry(Mapping[str, Any]):
    """Name → class of one kind of entry.

    ``kind`` names the group of entry points; ``what`` is the word for one entry, for messages; ``package``
    the dotted folder; ``attribute`` what an entry's file calls its class; ``given`` the arguments that every
    entry is built with: all others are options.
    """

    def __init__(self, kind: str, what: str, package: str, attribute: str, given: Iterable[str] = ()) -> None:
        self.kind, self.what, self.package, self.attribute = kind, what, f"{PACKAGE}.{package}", attribute
        self._given = frozenset(given) | {"self"}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._modules()))

    def __len__(self) -> int:
        return len(self._modules())

    def __contains__(self, name: object) -> bool:
        return name in self._modules()

    def __getitem__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._modules()[name]), self.attribute)

    def module(self, name: str) -> str:
        """Dotted path of the module behind ``name``. Raises ConfigError for an unknown one."""
        modules = self._modules()
        if name not in modules:
            raise ConfigError(f"unknown {self.what} {name!r}", nearest(name, modules))
        return modules[name]

    def known(self, name: str) -> str:
        """``name`` itself. Raises ConfigError for an unknown one."""
        self.module(name)
        return name

    def options(self, name: str) -> dict[str, Any]:
        """Options of the entry ``name`` with their defaults. Raises ConfigError for an unknown entry."""
        found = _of_class(*_class_of(self.module(name), self.attribute))
        return {option: default for option, default in found.items() if option not in self._given}

    def setting(self, name: str, attribute: str, default: Any = None) -> Any:
        """The class attribute of the entry ``name``, its own or of its nearest base; else ``default``.

        Raises ConfigError for an unknown entry.
        """
        return next(_settings(*_class_of(self.module(name), self.attribute), attribute), default)

    def check(self, name: str, options: Iterable[str] = ()) -> None:
        """Raises ConfigError for an unknown entry, or for an option that it does not have."""
        known = self.options(name)
        for option in options:
            if option not in known:
                raise ConfigError(
                    f"unknown option {option!r} of {self.what} {name!r}", nearest(option, known)
                )

    def build(self, entry: Any, /, *given: Any, **options: Any) -> Any:
        """An object of ``entry``, a name or a class. Raises ConfigError for an unknown name or option."""
        if isinstance(entry, str):
            self.check(entry, options)
            entry = self[entry]
        return entry(*given, **options)

    def _modules(self) -> dict[str, str]:
        folder = SOURCE.joinpath(*self.package.split(".")[1:])
        # A plan asks thousands of times: names alone, without a path object for each.
        with os.scandir(folder) as files:
            own = {file.name[:-3] for file in files if file.name.endswith(".py")} - _FRAME
        return _entry_points(f"{PACKAGE}.{self.kind}") | {
            name: f"{self.package}.{name}" for name in own if not name.startswith("_")
        }


FAMILIES = Registry("families", "posterior family", "posteriors", "FAMILY", ("setting",))
SAMPLERS = Registry("samplers", "sampler", "samplers", "SAMPLER")
SOURCES = Registry("sources", "source of training data", "observations.sources", "SOURCE")
GENERATIVE = Registry(
    "generative", "generative model", "models.generative", "GENERATIVE", ("bands", "platforms")
)
ENCODERS = Registry("encoders", "encoder", "models.encoders", "ENCODER", ("bands", "platforms"))
PRIORS = Registry("priors", "learned prior", "models.priors", "PRIOR", ("bands", "lower", "upper"))
SEASON_PRIORS = Registry("season_priors", "season prior", "models.priors.seasons", "PRIOR", ("base",))
ESTIMATORS = Registry(
    "estimators", "estimator", "models.estimators", "ESTIMATOR", ("base", "options", "sampler")
)
WEATHER_LATENTS = Registry(
    "weather_latents",
    "map from weather to latents",
    "models.weather.latents",
    "LATENTS",
    ("drivers", "dim", "cells"),
)
OBJECTIVES = Registry("objectives", "objective", "training.objectives", "OBJECTIVE")


@cache
def _entry_points(group: str) -> dict[str, str]:
    """Module by name of what other packages add; asked once, for it looks through all that is installed."""
    return {entry.name: entry.module for entry in entry_points(group=group)}


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint for whoever wrote ``name``: the valid name that is nearest to it, and all there are."""
    names = sorted(known)
    by_lower = {each.lower(): each for each in names}
    near = get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.3)
    hint = f"did you mean {by_lower[near[0]]!r}? " if near else ""
    return f"{hint}known: {', '.join(names) or 'none'}"


def source_of(module: str) -> Path | None:
    """The file of a dotted ``module``, of this package or of another; None if there is none."""
    root, *rest = module.split(".")
    if root == PACKAGE:
        base = SOURCE.joinpath(*rest)
    else:
        spec = importlib.util.find_spec(root)
        if spec is None or spec.origin is None:
            return None
        # A package by its folder, a single file by its name without the ending.
        origin = Path(spec.origin)
        base = (origin.parent if origin.name == "__init__.py" else origin.with_suffix("")).joinpath(*rest)
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def _class_of(module: str, attribute: str) -> tuple[str, str]:
    """Module and name of the class that an entry's file calls ``attribute``."""
    tree = _parsed(module)
    for node in tree.body:
        names = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
        if isinstance(node, ast.Assign) and attribute in names and isinstance(node.value, ast.Name):
            return module, node.value.id
    raise ConfigError(f"{source_of(module)} names no class", f"it must end with {attribute} = TheClass")


def _of_class(module: str, name: str) -> dict[str, Any]:
    """Parameters of a class in order: those of its constructor, or of the nearest base that has one."""
    found = _definition(module, name)
    if found is None:
        return {}
    module, tree, kind = found
    for node in kind.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return _of_function(node.args, tree)
    inherited: dict[str, Any] = {}
    for base in kind.bases:
        if isinstance(base, ast.Name) and not inherited:
            inherited = _of_class(module, base.id)
    if not any("dataclass" in ast.unparse(decorator) for decorator in kind.decorator_list):
        return inherited
    fields = [
        node for node in kind.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    return inherited | {
        field.target.id: _value(field.value, tree)
        for field in fields
        if isinstance(field.target, ast.Name) and "ClassVar" not in ast.unparse(field.annotation)
    }


def _settings(module: str, name: str, attribute: str) -> Iterator[Any]:
    """Values that a class and its bases, the nearest first, give a class attribute."""
    found = _definition(module, name)
    if found is None:
        return
    module, tree, kind = found
    for node in kind.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if attribute in map(ast.unparse, targets):
                yield _value(node.value, tree)
    for base in kind.bases:
        if isinstance(base, ast.Name):
            yield from _settings(module, base.id, attribute)


def _definition(module: str, name: str) -> tuple[str, ast.Module, ast.ClassDef] | None:
    """The class that ``name`` stands for in a module, and where it is defined; None if in a third package."""
    tree = _parsed(module)
    kind = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if kind is not None:
        return module, tree, kind
    origin = _imported_from(tree, module, name)
    return _definition(*origin) if origin is not None else None


def _of_function(arguments: ast.arguments, tree: ast.Module) -> dict[str, Any]:
    positional = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults = [*missing, *arguments.defaults, *arguments.kw_defaults]
    names = [argument.arg for argument in (*positional, *arguments.kwonlyargs)]
    return {name: _value(default, tree) for name, default in zip(names, defaults, strict=True)}


def _value(node: ast.expr | None, tree: ast.Module) -> Any:
    """A literal, or the name of a constant of the same file that is one; else its source text."""
    if node is None:
        return None
    constants = {
        ast.unparse(target): other.value
        for other in tree.body
        if isinstance(other, ast.Assign)
        for target in other.targets
    }
    value = constants.get(ast.unparse(node), node)
    try:
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "frozenset":
            return frozenset(*map(ast.literal_eval, value.args))
        return ast.literal_eval(value)
    except ValueError:
        return ast.unparse(value)


def _imported_from(tree: ast.Module, module: str, name: str) -> tuple[str, str] | None:
    """Module and name that ``name`` stands for, if imported from this package or the entry's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    parts = module.split(".")[: -node.level] if node.level else []
                    origin = ".".join([*parts, *([node.module] if node.module else [])])
                    if origin.split(".")[0] in (PACKAGE, module.split(".")[0]):
                        return origin, alias.name
    return None


def _parsed(module: str) -> ast.Module:
    path = source_of(module)
    if path is None:
        raise ConfigError(
            f"there is no module {module}", "an entry point names it: install its package again"
        )
    return _tree(path, path.stat().st_mtime_ns)


@cache
def _tree(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_text())
