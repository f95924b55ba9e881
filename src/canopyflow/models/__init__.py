"""Generative models, encoders, learned priors, estimators, and the saved bundle of a trained model."""

from canopyflow.models.bundle import load

__all__ = ["load"]
