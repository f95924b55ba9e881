"""Estimators: the one door of inference, from an observation to a posterior. One file each."""
