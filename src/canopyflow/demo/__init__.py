"""The synthetic archive: a landscape, its clouds, its field plots and its STAC API.

Reflectances come from the *independent* PROSAIL of PyPI ``prosail`` and the
band responses of PyPI ``pyrsr`` (both in the extra ``demo``); the library's own
physics is never used here, so a retrieval on the demo is no inverse crime.
"""

from canopyflow.demo.archive import add_scene, write_archive
from canopyflow.demo.server import serve

__all__ = ["add_scene", "serve", "write_archive"]
