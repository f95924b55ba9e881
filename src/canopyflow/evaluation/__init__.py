"""Scores of the posterior against simulations, reference maps and field plots, and their figures."""
