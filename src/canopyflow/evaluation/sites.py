"""Which field plots belong together: what is learned at one of them may be known at its neighbour."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

APART = 1000.0
"""Metres beyond which plots are of two sites, where the table names none."""

_RADIUS = 6_371_000.0
"""Of the Earth, metres."""


def sites_of(plots: pd.DataFrame) -> NDArray[np.object_]:
    """The site of each row of ``plots``: its column ``site``; where that is empty or not there, all plots
    that a chain of steps of at most :data:`APART` connects, named after the first of them."""
    out = np.full(len(plots), "", dtype=object)
    if "site" in plots:
        out[:] = plots["site"].fillna("").astype(str).str.strip()
    rows = np.flatnonzero(out == "")
    if len(rows):
        groups = _connected(plots[["lon", "lat"]].to_numpy(float)[rows])
        plot = plots["plot_id"].astype(str).to_numpy()[rows]
        out[rows] = [f"around {plot[np.argmax(groups == group)]}" for group in groups]
    return out


def _connected(position: NDArray[np.float64]) -> NDArray[np.int32]:
    """Number of the group of each of n longitudes and latitudes (n, 2), degrees."""
    lon, lat = np.radians(position).T
    points = _RADIUS * np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    places, which = np.unique(points, axis=0, return_inverse=True)
    pairs = cKDTree(places).query_pairs(APART, output_type="ndarray")
    near = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(places), len(places)))
    groups: NDArray[np.int32] = connected_components(near, directed=False)[1][which.ravel()]
    return groups
