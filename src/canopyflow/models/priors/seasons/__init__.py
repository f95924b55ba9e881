"""Distributions of a pixel's trajectory over a season, beside the law of its single dates. One file each."""
