"""The campaign file as pydantic models, a module per block: the source of defaults, schema and docs.

``config/config.yaml``, ``workflow/schemas/campaign.schema.json`` and the table in ``docs/configuration.md``
are rendered from these classes (:mod:`canopyflow.config.files`). Names of bands, platforms and variables are
those of :mod:`canopyflow.vocabulary`; entries of a registry are checked against their source, without torch.
The library never imports this package: rules pass plain values down.
"""

from canopyflow.config.campaign import Campaign
from canopyflow.config.read import documents_of, load_campaign, read_campaign

__all__ = ["Campaign", "documents_of", "load_campaign", "read_campaign"]
