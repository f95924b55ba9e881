"""Posterior summaries for pixels, Dask-parallel maps of scenes, and tables of pixels."""
