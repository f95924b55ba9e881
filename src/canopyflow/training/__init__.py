"""Objectives, the training loop, checkpoints and resume."""
