"""Zarr stores of the campaign: scenes, masks and patch cubes.

Layer: above ``archive``, below training, inference and evaluation.
"""
