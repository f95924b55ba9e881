"""Latents that are linear in weather."""

from .contract import Latents


class Linear(Latents):
    """h(x) = b + A x."""


LATENTS = Linear
