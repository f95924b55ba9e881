"""Which plots are of one site."""

import pandas as pd

from canopyflow.evaluation.sites import sites_of


def plots(*rows: tuple[str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["plot_id", "lon", "lat"])


def test_the_table_names_sites() -> None:
    table = plots(("a", 7.0, 47.0), ("b", 7.0, 47.0)).assign(site=["north", " south "])
    assert sites_of(table).tolist() == ["north", "south"]


def test_else_a_chain_of_near_plots_is_a_site() -> None:
    # 0.01 degrees of latitude are 1.1 km, of longitude at 60 degrees north 0.56 km.
    table = plots(
        ("a", 20.0, 60.0), ("b", 20.01, 60.0), ("c", 20.02, 60.0), ("d", 20.0, 60.02), ("a", 20.0, 60.0)
    )
    assert sites_of(table).tolist() == ["around a"] * 3 + ["around d", "around a"]


def test_across_the_180th_meridian_too() -> None:
    assert sites_of(plots(("a", 179.999, -17.0), ("b", -179.999, -17.0))).tolist() == ["around a"] * 2


def test_plots_without_a_name_among_named_ones() -> None:
    table = plots(("a", 7.0, 47.0), ("b", 8.0, 47.0), ("c", 8.0, 47.0)).assign(site=["north", None, ""])
    assert sites_of(table).tolist() == ["north", "around b", "around b"]
