"""Encoders, the physical variational auto-encoder, its objectives and its saved bundle."""

from canopyflow.models.bundle import load

__all__ = ["load"]
