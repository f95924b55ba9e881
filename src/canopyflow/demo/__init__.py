"""The synthetic archive: a landscape, its clouds, its field plots and its STAC API.

Reflectances come from the *independent* PROSAIL of PyPI ``prosail`` and the
band responses of PyPI ``pyrsr`` (both in the extra ``demo``); the library's own
physics is never used here, so a retrieval on the demo is no inverse crime.

Import the submodule you need: who only serves an archive must not depend on
how the landscape is made, or a new landscape would search every archive again.
"""
