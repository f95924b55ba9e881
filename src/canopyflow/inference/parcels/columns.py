"""Columns of a parcel table."""

from canopyflow.vocabulary import QUANTILES

STATISTICS = ("mean", "std", *QUANTILES)
NAIVE = ("averaged_q05", "averaged_q95", "independent_q05", "independent_q95")
"""Ends of the 90 % interval as if the errors of all pixels were one (the mean of their quantiles), and as if
each had its own: what the coupled interval lies between."""

COLUMNS = (
    *("parcel", "time", "tile", "item", "variable"),
    *STATISTICS,
    *("pixels", "clear_share", "edge_share", "flags", "flagged_share"),
    *NAIVE,
)
"""Of the table, a row per parcel, acquisition and variable."""
