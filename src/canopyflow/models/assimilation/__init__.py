"""Trajectories from denoisers of segments, spectra, field plots and coarse maps: score-based assimilation."""
