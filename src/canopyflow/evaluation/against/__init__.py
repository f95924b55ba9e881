"""Hold a model against simulations, a reference posterior, field plots and reference maps."""
