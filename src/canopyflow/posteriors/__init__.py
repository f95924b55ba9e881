"""Posterior families: from features of a pixel to a law over its variables, within bounds.

One contract for all (:mod:`.contract`), one registry (:mod:`.registry`), one test file of laws.
"""

from .registry import FAMILIES, build

__all__ = ["FAMILIES", "build"]
