"""Samplers: from a target density to draws of it. One file each."""
