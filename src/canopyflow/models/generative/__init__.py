"""Generative models p(x, z): what a state is, and what the satellite sees of it. One file each."""
