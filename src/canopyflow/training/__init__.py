"""Simulated and observed training data, the training loop, checkpoints and resume."""
