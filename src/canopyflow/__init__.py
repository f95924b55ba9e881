"""Leaf and canopy variables from Sentinel-2 archives, with their posterior."""

__version__ = "0.1.0"
