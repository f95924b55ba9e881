"""Estimators, which all inference goes through: from an observation to a posterior. One file each."""
