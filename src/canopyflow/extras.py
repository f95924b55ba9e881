"""Which extra brings which package, and what is said where a command needs one that is not installed.

``pip install canopyflow`` brings what families, physics, ``load`` and ``predict`` need. All else comes with
an extra: ``[maps]`` reads archives, scenes and products, ``[workflow]`` runs campaigns (and holds
``[maps]``), ``[demo]`` writes the synthetic archive, ``[tensorboard]`` and ``[mlflow]`` track training.
Imports of these packages stand in the modules that use them; commands import those modules when they run.
"""

import sys
from types import ModuleType

from canopyflow.errors import CanopyflowError

PACKAGES: dict[str, tuple[str, ...]] = {
    "maps": (
        "affine",
        "dask",
        "defusedxml",
        "geopandas",
        "google_crc32c",
        "numcodecs",
        "odc",
        "pyogrio",
        "pyproj",
        "pystac",
        "pystac_client",
        "rasterio",
        "requests",
        "shapely",
        "stackstac",
        "urllib3",
        "xarray",
        "zarr",
    ),
    "workflow": (
        "cycler",
        "dask_jobqueue",
        "distributed",
        "jinja2",
        "markupsafe",
        "matplotlib",
        "platformdirs",
        "pydantic",
        "pydantic_core",
        "snakemake",
        "snakemake_executor_plugin_slurm",
        "snakemake_interface_executor_plugins",
        "yaml",
    ),
    "demo": ("prosail", "pyrsr", "rustac"),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow",),
}
"""Extra → packages that it brings, by the names that they are imported by."""

WITHIN = {"maps": ("workflow", "demo")}
"""Extra → other extras that bring its packages, or those of them that their commands need."""


def extra_of(module: str) -> str | None:
    """The extra that brings the package of a dotted module; None if it is always there, or unknown."""
    package = module.partition(".")[0]
    return next((extra for extra, names in PACKAGES.items() if package in names), None)


def missing(error: ModuleNotFoundError, asked: str | None = None) -> CanopyflowError | None:
    """What to say of a failed import: which package is missing, and what installs it.

    ``asked`` is the extra of the whole command; it is named where it brings the package. None if no extra
    brings the module: that is a defect of the program and no lack of the installation.
    """
    package = (error.name or "").partition(".")[0]
    extra = extra_of(package)
    if extra is None:
        return None
    named = asked if asked in WITHIN.get(extra, ()) else extra
    return CanopyflowError(f"this needs the package {package}, which is not here", install(str(named)))


def install(*extras: str) -> str:
    """The remedy: what installs the extras."""
    return f"pip install 'canopyflow[{','.join(extras)}]'"


def without_stores() -> None:
    """Let :mod:`canopyflow.models.simulate` be imported where libraries of stores are not installed.

    It writes simulations as a store, which needs ``[maps]``, and as a table, which does not. In place of the
    module that writes stores stands one that says what is missing. Nothing is done where they are installed.
    """
    name = "canopyflow.cubes.simulations"
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        lack = missing(error)
        if lack is None:
            raise
        stand_in = ModuleType(name)
        stand_in.__dict__["write_simulations"] = _refusing(lack)
        sys.modules[name] = stand_in


def _refusing(lack: CanopyflowError) -> object:
    def write_simulations(*_: object, **__: object) -> None:
        raise lack

    return write_simulations
