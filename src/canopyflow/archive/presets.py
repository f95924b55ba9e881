"""Public archives of Sentinel-2 Level-2A by short names."""

import os
from dataclasses import dataclass

from canopyflow.errors import ArchiveError

DEMO = "demo"
DEFAULT_COLLECTION = "sentinel-2-l2a"


@dataclass(frozen=True)
class Preset:
    """A public archive.

    ``collection`` is searched unless the campaign names one of ``others``. ``remark``: what to know before.
    ``from_bucket``: files are read from the bucket of the Copernicus Data Space. ``keys``: environment
    variables without which no file can be read; one of these groups is enough.
    """

    url: str
    collection: str
    remark: str
    others: tuple[str, ...] = ()
    from_bucket: bool = False
    keys: tuple[tuple[str, ...], ...] = ()


PRESETS = {
    "earth-search": Preset(
        "https://earth-search.aws.element84.com/v1",
        DEFAULT_COLLECTION,
        "COGs on AWS, no account. Pixels of sentinel-2-l2a are mostly shifted by the offset already; "
        "those of sentinel-2-c1-l2a (baseline 05 and later, with gaps) never",
        ("sentinel-2-c1-l2a",),
    ),
    "planetary-computer": Preset(
        "https://planetarycomputer.microsoft.com/api/stac/v1",
        DEFAULT_COLLECTION,
        "COGs on Azure, signed when they are read; a subscription key in PC_SDK_SUBSCRIPTION_KEY is optional",
    ),
    "cdse": Preset(
        "https://stac.dataspace.copernicus.eu/v1",
        DEFAULT_COLLECTION,
        "JPEG 2000 of ESA's own archive through its download service; needs an account: CDSE_USERNAME and "
        "CDSE_PASSWORD, or CDSE_TOKEN",
        keys=(("CDSE_USERNAME", "CDSE_PASSWORD"), ("CDSE_TOKEN",)),
    ),
    "cdse-s3": Preset(
        "https://stac.dataspace.copernicus.eu/v1",
        DEFAULT_COLLECTION,
        "the same from its bucket, with S3 keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        from_bucket=True,
        keys=(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),),
    ),
    "sentinel-cogs": Preset(
        "https://earth-search.aws.element84.com/v0",
        "sentinel-s2-l2a-cogs",
        "the earlier index (v0) of the COGs on AWS, for what v1 lacks",
    ),
}
"""Sources: https://element84.com/earth-search, https://planetarycomputer.microsoft.com/dataset/sentinel-2-l2a,
https://documentation.dataspace.copernicus.eu/APIs/STAC.html, https://registry.opendata.aws/sentinel-2-l2a-cogs."""


def address_of(catalog: str) -> str:
    """URL or path of a catalogue: of a preset, or as it is written, with ${NAME} from the environment."""
    return PRESETS[catalog].url if catalog in PRESETS else os.path.expandvars(catalog)


def check_keys(catalog: str) -> None:
    """Whether the environment holds what a preset needs for its files: each scene would be set aside without.

    Raises:
        ArchiveError: it does not.
    """
    groups = PRESETS[catalog].keys if catalog in PRESETS else ()
    if groups and not any(all(os.environ.get(name) for name in group) for group in groups):
        wanted = ", or ".join(" and ".join(group) for group in groups)
        raise ArchiveError(f"no file of {catalog} can be read without an account", f"set {wanted}")


def collection_of(catalog: str) -> str:
    """The collection that is searched where the campaign names none."""
    return PRESETS[catalog].collection if catalog in PRESETS else DEFAULT_COLLECTION
