# Which maps there are of a model, and what is behind each.
#
# A window is a month, or the season of a year for models that have dynamics. The map of a season reads the months of
# its season that have a scene, and no others: so it is made again when one of them changed.


def windows(model):
    """Tile and window of each map of a model: months; of a model of seasons years, with a scene in the season.
    None where the campaign searches no scenes."""
    if not campaign.has_scenes:
        return []
    if model not in campaign.of_seasons:
        return list(tile_months())
    return list(
        dict.fromkeys(
            (tile, year)
            for year in campaign.season_windows
            for tile, month in tile_months()
            if in_season(year, month)
        )
    )


def in_season(year, month):
    """Whether a month, YYYY-MM, belongs to the season of a year."""
    first, last = campaign.seasons.window(int(year))
    return first <= month <= last


@cache
def months_by_tile(path, changed):
    """Months of each tile that have a scene."""
    found = {}
    for tile, month in read_once(path, changed):
        found.setdefault(tile, []).append(month)
    return found


def months_of(wildcards):
    """The months behind a map: its own, or all of its season that have a scene, and no other."""
    if "-" in wildcards.window:
        return [wildcards.window]
    tile_months()
    path = Path(search_index())
    found = months_by_tile(path, path.stat().st_mtime_ns).get(wildcards.tile, [])
    return [month for month in found if in_season(wildcards.window, month)]


def of_months(pattern):
    """Input function: `pattern` for each month behind the map of a tile and window."""
    return lambda wildcards: [
        str(pattern).format(tile=wildcards.tile, window=month)
        for month in months_of(wildcards)
    ]


def for_all_season_months(pattern):
    """Input function: `pattern` for every tile and month within a season that has a scene."""
    return lambda wildcards: [
        str(pattern).format(tile=tile, window=month)
        for tile, month in tile_months()
        if in_season(month[:4], month)
    ]


def season_window(wildcards):
    """What part of a year is mapped, and at which dates; nothing of the map of a month."""
    if wildcards.model not in campaign.of_seasons:
        return {}
    start, end = campaign.season_windows[wildcards.window]
    return dict(start=str(start), end=str(end), every_days=campaign.seasons.every_days)


def for_all_windows(pattern):
    """Input function: `pattern` for every tile and window that a model is mapped for."""

    def expand_pattern(wildcards):
        return [
            str(pattern).format(tile=tile, window=window, **wildcards)
            for tile, window in windows(wildcards.model)
        ]

    return expand_pattern


def of_all_models(pattern):
    """Input functions: `pattern` for every model that is mapped, and every tile and window that it is mapped for."""

    def of_model(model):
        named = str(pattern).replace("{model}", model)
        return lambda wildcards: [
            named.format(tile=tile, window=window) for tile, window in windows(model)
        ]

    return [of_model(model) for model in campaign.mapped]


def every(pattern):
    """Input function: ``pattern`` of every model, tile and window that is mapped."""
    return lambda wildcards: [
        path for found in of_all_models(pattern) for path in found(wildcards)
    ]


def maps_of_model(wildcards):
    """Input function: all maps of a model; none of a baseline."""
    if wildcards.model not in campaign.mapped:
        return []
    return for_all_windows(PRODUCTS)(wildcards)


def training_seasons(source, pattern):
    """Input function: drawn or observed seasons, where a model learns from them."""

    def expand_pattern(wildcards):
        if wildcards.model not in campaign.of_seasons:
            return []
        if source not in campaign.seasons.sources:
            return []
        return expand(pattern, model=wildcards.model, split=["train", "validation"])

    return expand_pattern


def season_survey(wildcards):
    """Circumstances under which seasons are drawn: days of the campaign's seasons, angles of its simulations."""
    return dict(
        dates=campaign.seasons.dates,
        window=list(campaign.seasons.days),
        sun_zenith=campaign.simulations.sun_zenith,
        view_zenith=campaign.simulations.view_zenith,
    )


def held_back(wildcards):
    """What a model is scored on where the truth is known: spectra, or seasons of its own prior."""
    if wildcards.model in campaign.of_seasons:
        return str(SEASONS_DRAWN).format(model=wildcards.model, split="test")
    return RESULTS / "simulations/test.zarr/zarr.json"


def references_of(wildcards):
    """The reference posteriors, which are of single dates."""
    return [] if wildcards.model in campaign.of_seasons else REFERENCES
