"""The command line: what the workflow can do, without Snakemake."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from canopyflow import __version__, extras
from canopyflow.campaigns import commands as campaign_commands
from canopyflow.campaigns.commands import GIVEN_ON, File, print_table
from canopyflow.errors import CanopyflowError
from canopyflow.jobs import configure_logging

# Commands start with what is always installed and import the rest when they run (canopyflow.extras).
NEEDS = dict.fromkeys(("campaign", "config", "results", "search"), "workflow") | {"demo": "demo"}
"""Command → the extra that it needs; of others the package that is missing says it."""


class _Commands(typer.Typer):
    """Commands whose CanopyflowError is one line on standard error and exit status 1.

    So is the want of a package that an extra brings.
    """

    def __call__(self, *args: object, **kwargs: object) -> object:
        configure_logging()
        try:
            return super().__call__(*args, **kwargs)
        except CanopyflowError as error:
            problem = error
        except ModuleNotFoundError as error:
            lack = extras.missing(error, NEEDS.get(next(iter(sys.argv[1:]), "")))
            if lack is None:
                raise
            problem = lack
        typer.secho(f"error: {problem}", fg=typer.colors.RED, err=True)
        raise SystemExit(1)


app = _Commands(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
config_app = typer.Typer(help="The campaign file.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(campaign_commands.app, name="campaign")
weather_app = typer.Typer(help="Maps from weather alone.", no_args_is_help=True)
app.add_typer(weather_app, name="weather")


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def everything(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version.")
    ] = False,
) -> None:
    """What the workflow can do, without Snakemake."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def families(
    name: Annotated[str | None, typer.Argument(help="one family: all there is to say about it")] = None,
) -> None:
    """List the posterior families, or describe one."""
    from canopyflow.registry import FAMILIES

    rows: list[tuple[str, ...]] = [("family", "kin", "density", "cost", "reference")]
    if name is None:
        for family, kind in FAMILIES.items():
            density = "exact" if kind.has_density else "bound"
            rows.append((family, kind.kin, density, kind.cost, kind.reference))
    else:
        FAMILIES.module(name)  # says so if there is none of this name
        kind = FAMILIES[name]
        options = ", ".join(f"{option}={default!r}" for option, default in FAMILIES.options(name).items())
        rows = [
            ("family", name),
            ("", kind.summary),
            ("kin", kind.kin),
            ("density", "exact" if kind.has_density else "bound"),
            ("cost", kind.cost),
            ("options", options or "none"),
            ("reference", kind.reference),
        ]
    print_table(rows)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="one model: its card")] = None,
    record: Annotated[
        tuple[str, Path] | None,
        typer.Option(help="NAME and JSON of `canopyflow score --out`: put a set's scores on the card"),
    ] = None,
) -> None:
    """List the models that come with the package, or print the card of one."""
    from canopyflow import shipped
    from canopyflow.products.shipping import CARD, add_set

    if name is None and record is not None:
        raise CanopyflowError("scores are recorded for one model", "name it before --record")
    if name is None:
        rows: list[tuple[str, ...]] = [("model", "family", "bands", "platforms", "trained by")]
        for each in shipped.SHIPPED:
            said = shipped.description(each)
            lists = (" ".join(said[key]) for key in ("bands", "platforms"))
            rows.append((each, said["family"]["name"], *lists, shipped.CAMPAIGNS[each]))
        print_table(rows)
        return
    shipped.description(name)  # says so if there is none of this name
    folder = shipped.bundle_of(name)
    if record is not None:
        add_set(folder, *record)
    typer.echo((folder / CARD).read_text())


@app.command(context_settings=GIVEN_ON)
def search(
    context: typer.Context,
    file: File,
    update: Annotated[bool, typer.Option("--update", help="pin what is found")] = False,
) -> None:
    """Ask the campaign's catalogue now, and show by id what differs from what is pinned.

    With --update, that very answer is pinned: the next run does not search, and fetches what has changed.
    What else is given goes to Snakemake, which runs the search's rule.
    """
    campaign_commands.search(context, file, update)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="folder to write to")],
    seed: Annotated[int, typer.Option(help="seed of the landscape, its weather and its noise")] = 0,
    serve: Annotated[bool, typer.Option(help="serve the archive's STAC API until interrupted")] = False,
    day: Annotated[list[str] | None, typer.Option(help="this day alone, 2021-06-08; repeat")] = None,
    years: Annotated[
        str | None, typer.Option(help="2016..2021: years whose weather drives growth, and weather.csv")
    ] = None,
) -> None:
    """Write the synthetic archive; with --serve, run its STAC API."""
    import signal

    from canopyflow.demo.archive import write_archive
    from canopyflow.demo.server import serve as serve_api
    from canopyflow.demo.years import read_years

    over = None if years is None else read_years(years)
    write_archive(folder, seed=seed, dates=day or None, years=over)
    if serve:
        with serve_api(folder) as url:
            typer.echo(f"STAC API at {url} (stop with Ctrl-C)")
            try:
                signal.pause()
            except KeyboardInterrupt:
                typer.echo("stopped")


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Parquet file to write")],
    n: Annotated[int, typer.Option(min=1, help="number of spectra")] = 10_000,
    sensor: Annotated[str, typer.Option(help="S2A, S2B or S2C")] = "S2A",
    seed: Annotated[int, typer.Option(help="seed")] = 0,
    prior: Annotated[
        str, typer.Option(help="law of the variables: field, atbd, prosail-vae, uniform")
    ] = "field",
) -> None:
    """Draw variables from the prior and write them with their noise-free and noisy reflectance."""
    extras.without_stores()
    from canopyflow.errors import ConfigError
    from canopyflow.models.simulate import simulate_table
    from canopyflow.physics.priors import PRIORS
    from canopyflow.registry import nearest

    known = ("field", *PRIORS)
    if prior not in known:
        raise ConfigError(f"prior {prior!r} is unknown", nearest(prior, known))
    simulate_table(out, n=n, sensor=sensor, seed=seed, prior=prior)


@app.command()
def predict(
    table: Annotated[
        Path, typer.Argument(help="CSV, gzipped or not, or Parquet: id, platform, bands, angles")
    ],
    out: Annotated[Path, typer.Option(help="file to write: .csv, .csv.gz, .parquet or .pq")],
    model: Annotated[
        str | None, typer.Option(help="name or folder of a model; the one that is shipped, unless given")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="a further column to write beside the id; repeat")
    ] = None,
    summaries: Annotated[str, typer.Option(help="learned, where the model has, or drawn")] = "learned",
    samples: Annotated[int, typer.Option(min=20, help="draws per pixel that is drawn from")] = 500,
    seed: Annotated[int, typer.Option(help="seed")] = 0,
    refine: Annotated[str, typer.Option(help="none, or importance: draws corrected by physics")] = "none",
    proposals: Annotated[int, typer.Option(min=100, help="weighted draws per pixel")] = 10_000,
    least_ess: Annotated[float, typer.Option(min=1, help="fewer effective draws are flagged")] = 100.0,
) -> None:
    """Posterior of each pixel in a table: mean, std, quantiles, fit and flags."""
    from canopyflow.inference.tables import TableOptions, predict_table
    from canopyflow.models.estimators.refined import check_refinement

    check_refinement(refine)
    options = TableOptions(
        samples,
        seed,
        summaries=summaries,
        refine=refine,
        proposals=proposals,
        least_ess=least_ess,
        keep=[name.strip() for names in keep or () for name in names.split(",")],
    )
    predict_table(table, model, out, options)


@app.command()
def score(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet as for predict, with measured columns")],
    model: Annotated[list[str], typer.Option(help="model bundle; once for each model, the first is tested")],
    measured: Annotated[list[str], typer.Option(help="VARIABLE=COLUMN: gai=lai; once for each variable")],
    group: Annotated[str | None, typer.Option(help="column of rows that belong together: site, plot")] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="column of whose values each is scored apart; month: of date")
    ] = None,
    platform: Annotated[str | None, typer.Option(help="of all rows, if the table has no such column")] = None,
    label_error: Annotated[
        tuple[float, float], typer.Option(help="error of labels without COLUMN_std: absolute, relative")
    ] = (0.15, 0.12),
    own_errors: Annotated[bool, typer.Option(help="COLUMN_std where the table has it")] = True,
    out: Annotated[Path | None, typer.Option(help="JSON or CSV to write the scores to")] = None,
    rows: Annotated[
        Path | None, typer.Option(help="CSV or Parquet, as of predict, to write every row to")
    ] = None,
    summaries: Annotated[str, typer.Option(help="learned, where the model has, or drawn")] = "learned",
    samples: Annotated[int, typer.Option(min=20, help="draws per pixel that is drawn from")] = 500,
    seed: Annotated[int, typer.Option(help="seed")] = 0,
) -> None:
    """Score models on a table of labelled pixels: errors, intervals and flags, with and without label
    error."""
    from canopyflow.evaluation.against import tables
    from canopyflow.evaluation.label_error import LabelError
    from canopyflow.inference.tables import TableOptions

    pairs = tables.measured_pairs(measured)
    tables.check_targets(table, out, rows)
    prediction = TableOptions(samples, seed, summaries=summaries)
    options = tables.SetOptions(
        LabelError(*label_error), own_errors, group, platform, prediction, seed=seed, by=tuple(by or ())
    )
    scores = tables.score_table(table, model, pairs, options)
    typer.echo(tables.told(scores))
    if out is not None:
        tables.write_scores(scores, out)
    if rows is not None:
        tables.write_rows(scores, rows)


@app.command()
def extract(
    products: Annotated[
        Path, typer.Argument(help="maps: results/CAMPAIGN/products/MODEL, one of its tiles, or one store")
    ],
    parcels: Annotated[Path, typer.Argument(help="polygons: .geojson, .gpkg or .parquet (GeoParquet)")],
    out: Annotated[list[Path], typer.Option(help="table to write: .csv or .parquet (GeoParquet); repeat")],
    id: Annotated[
        str | None, typer.Option(help="property that names a parcel; else parcel, parcel_id or id")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="bundle behind the maps; else that of the campaign")
    ] = None,
    scenes: Annotated[Path | None, typer.Option(help="folder of scene stores; else the campaign's")] = None,
    masks: Annotated[Path | None, typer.Option(help="folder of mask stores; else the campaign's")] = None,
    samples: Annotated[int, typer.Option(min=20, help="draws per pixel and of the mean")] = 100,
    pixels: Annotated[int, typer.Option(min=1, help="most pixels of a parcel that are drawn from")] = 64,
    seed: Annotated[int, typer.Option(help="seed")] = 0,
) -> None:
    """Mean of each parcel on each date, with an interval that counts how alike errors of its pixels are."""
    from canopyflow.inference.parcels.command import Asked, Sources, extract_products
    from canopyflow.inference.parcels.extract import ExtractOptions

    asked = Asked(id, options=ExtractOptions(samples, pixels, seed))
    extract_products(products, parcels, out, asked, Sources(model, scenes, masks))


@app.command()
def track(
    models: Annotated[list[Path], typer.Argument(help="folders of trained models, or their history.jsonl")],
    to: Annotated[str, typer.Option(help="tensorboard or mlflow")],
    out: Annotated[Path, typer.Option(help="folder to write to")] = Path("tracking"),
    experiment: Annotated[str, typer.Option(help="what MLflow calls the whole")] = "canopyflow",
) -> None:
    """Show how models were trained: curves of their histories for TensorBoard or MLflow."""
    from canopyflow.evaluation import tracking

    for path in models:
        folder = path if path.is_dir() else path.parent
        run = "/".join(folder.resolve().parts[-2:])
        place = out / run if to == "tensorboard" else out
        tracking.track(path, to, place, experiment=experiment, run=run)
    typer.echo(f"{len(models)} runs are in {out}")


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="new or empty folder")]) -> None:
    """Write the workflow into a folder: Snakefile, rules, scripts, config, profiles, environments."""
    from canopyflow.campaigns.starting import write_workflow

    typer.echo("\n".join(write_workflow(folder)))


@app.command()
def results(
    config: Annotated[Path, typer.Option(help="campaign file")] = Path("config/config.yaml"),
    full: Annotated[bool, typer.Option("--full", help="all scores of all models too")] = False,
) -> None:
    """Say which posterior of a finished campaign to take and whether to believe it, which scenes it lacks,
    and where its results lie."""
    from canopyflow.campaigns.results import lines
    from canopyflow.config import read_campaign

    for line in lines(read_campaign(config).results, full):
        typer.echo(line)


@config_app.command("render")
def config_render(top: Annotated[Path, typer.Option(help="top of the repository")] = Path()) -> None:
    """Write the files made from the campaign model: demo campaign, JSON schema, docs table."""
    from canopyflow.config.files import render

    render(top)


@config_app.command("check")
def config_check(
    file: Annotated[Path, typer.Argument(help="campaign file")],
    online: Annotated[bool, typer.Option("--online", help="ask the catalogue as well")] = False,
) -> None:
    """Check a campaign file and say what is wrong with it; with --online, ask whether its archive has it."""
    from canopyflow.config import read_campaign

    campaign = read_campaign(file)
    typer.echo(f"{file}: campaign {campaign.campaign} is in order")
    for note in campaign.notes:
        typer.echo(f"note: {note}")
    if online:
        from canopyflow.campaigns.online import ask_catalogue

        for answer in ask_catalogue(campaign):
            if not answer.is_fine:
                raise CanopyflowError(f"{answer.what}: {answer.text}")
            typer.echo(f"{answer.what:10}  {answer.text}")


@weather_app.command("fit")
def weather_fit(
    weather: Annotated[Path, typer.Argument(help="CSV: date, temperature, radiation, rain; one row a day")],
    values: Annotated[Path, typer.Argument(help="CSV or Parquet: date, place, value; several years")],
    out: Annotated[Path, typer.Option(help="folder to write the model to")],
    value: Annotated[str, typer.Option(help="column of the value: mean")],
    place: Annotated[str, typer.Option(help="column of the place")] = "parcel",
    date: Annotated[str, typer.Option(help="column of the date or time")] = "date",
    only: Annotated[
        tuple[str, str] | None, typer.Option(help="COLUMN TEXT: rows with this alone: variable gai")
    ] = None,
    latents: Annotated[str, typer.Option(help="linear, quadratic, exponential, seasonal, kernel")] = "kernel",
    law: Annotated[str, typer.Option(help="of the latents given a map: gaussian or gev")] = "gaussian",
    alpha: Annotated[
        float | None, typer.Option(help="weight of the error of maps from weather", show_default="3")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="weight of the divergence of the latents", show_default="0.1")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=2, help="steps of training", show_default="600")] = None,
    seed: Annotated[int, typer.Option(help="seed")] = 0,
) -> None:
    """Learn what weather makes of a value at each place, from dates of several years."""
    from canopyflow.training.weather_tables import GROWTH, TableColumns, fit_table

    given: dict[str, Any] = {"alpha": alpha, "beta": beta, "steps": steps}
    training = replace(GROWTH, seed=seed, **{k: v for k, v in given.items() if v is not None})
    told = fit_table(weather, values, out, TableColumns(value, place, date, only), training, latents, law)
    typer.echo(
        f"{told['days']} dates of {told['places']} places; a new year is missed by about "
        f"{told['error_std']:.3g} (root mean square, year by year left out of h)"
    )


@weather_app.command("predict")
def weather_predict(
    model: Annotated[Path, typer.Argument(help="folder that `weather fit` wrote")],
    weather: Annotated[Path, typer.Argument(help="CSV as for fit, of the days asked for and before")],
    day: Annotated[list[str], typer.Option(help="a date, 2022-06-08, or 2022-03-01..2022-10-31; repeat")],
    out: Annotated[Path, typer.Option(help="table to write: .csv or .parquet")],
    every: Annotated[int, typer.Option(min=1, help="days between dates of a range")] = 5,
    draws: Annotated[int, typer.Option(help="joint draws behind mean, std, quantiles; 19 or more")] = 200,
    seed: Annotated[int, typer.Option(help="seed")] = 0,
) -> None:
    """Write mean, std and quantiles of the value at each place on other dates, from weather alone."""
    from canopyflow.training.weather_tables import days_of, predict_table

    predict_table(model, weather, days_of(day, every), out, draws, seed)
