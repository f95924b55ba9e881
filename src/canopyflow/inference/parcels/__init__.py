"""Means over areas, with intervals: parcels, and footprints of field plots."""
