"""What score-based assimilation of seasons is worth: composition, exact and learned denoisers, plots.

    python benchmarks/assimilation.py [--parts composition,gp,curves] [--seasons 6] [--dates 12] [--draws 24]

`composition`: a pixel that is linear in its normal scores, 24 dates, `season_gp`: the posterior is known,
and so are the errors of denoisers composed of segments of 2 k + 1 dates, as published and beside a normal
prior of the whole window (here one with other lengths than the true one), in posterior standard deviations.
`gp`: PROSAIL, seasons drawn from `season_gp`, half of the dates clear: leaf area by assimilation with the
exact denoiser and by the `smoother`; and with two field plots and a coarse mean in addition. `curves`: the
same with `season_curves`, which has no density: the denoiser is learned from its draws. Coverage is that of
the 90 % interval by ranks; of clear and clouded dates. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import torch
from torch import Tensor

from canopyflow.models.assimilation.denoisers import Composed, Denoiser, Gaussian
from canopyflow.models.assimilation.target import Assimilated, Coarse, Plots, Problem, target
from canopyflow.models.estimators.sampled import Sampled
from canopyflow.models.generative._season import Season
from canopyflow.models.priors.seasons.season_gp import SeasonGP
from canopyflow.models.runtime import generator, one_thread
from canopyflow.models.simulate import SeasonSurvey, draw_seasons
from canopyflow.observations.observation import Observation, View
from canopyflow.registry import GENERATIVE, SAMPLERS, SEASON_PRIORS
from canopyflow.samplers.assimilation import Assimilation
from canopyflow.samplers.contract import Draws, Linearised
from canopyflow.training.denoiser import DenoiserOptions, draw_segments, train_denoiser
from canopyflow.vocabulary import BANDS, NAMES

WINDOW, LEVEL, CLEAR = (60.0, 300.0), 0.9, 0.5
LAI = NAMES.index("lai")
PLOT, MEAN = 0.3, 0.1
"""Errors of field plots and of coarse means of leaf area."""


def composition() -> dict[str, float]:
    """Error of posterior means by reach, in posterior deviations, at 24 dates; ``deviation``: mean ratio of
    standard deviations to exact ones."""
    pixel = GENERATIVE.build("prosail", BANDS, ("S2A",))
    dates, rows = 24, 4
    day = torch.linspace(20.0, 330.0, dates)[None]
    true = SeasonGP(pixel)
    other = SeasonGP(pixel, constant={"lai": 0.3, "cab": 0.3}, length={"lai": 20.0, "cab": 50.0})
    g = generator("benchmark composition")
    design = torch.randn(rows, len(NAMES), generator=g) / 0.5
    clear = (torch.rand(dates, generator=g) < CLEAR).float()
    jacobian = design * clear[:, None, None]
    truth = true.sample(day, g)[0]
    y = torch.einsum("tbk,tk->tb", jacobian, truth) + clear[:, None] * torch.randn(dates, rows, generator=g)

    def mean(denoiser: Denoiser) -> tuple[Tensor, float]:
        on = denoiser.on(day)
        base = target(Problem(Season(pixel, true), _nothing(day)))

        def linearise(x: Tensor) -> Linearised:
            w = x.unflatten(-1, (dates, len(NAMES)))
            residual = y - torch.einsum("tbk,...tk->...tb", jacobian, w)
            return Linearised(residual, jacobian.expand(*x.shape[:-1], *jacobian.shape))

        made = replace(
            base,
            denoiser=lambda x, sigma: (
                on(x.unflatten(-1, (dates, len(NAMES))), sigma).mean.flatten(-2),
                None,
            ),
            linearise=linearise,
        )
        found = Assimilation(steps=12, corrections=0, iterations=30).draw(
            made, (100,), generator("composition draws")
        )
        z = Season(pixel, true).to_probit(Season(pixel, true).prior(_nothing(day)).to_base(found.z))
        return z[:, 0], float(found.diagnosis["indefinite"][0])

    exact, _ = mean(Gaussian(true))
    centre, deviation = exact.mean(0), exact.std(0)
    out = {}
    for reach in (1, 3):
        for name, whole in (("published", None), ("beside_gp", other)):
            z, indefinite = mean(Composed(Gaussian(true), reach, whole))
            error = ((z.mean(0) - centre) / deviation).square().mean().sqrt()
            out[f"{name}_{reach}_error"] = float(error)
            out[f"{name}_{reach}_deviation"] = float((z.std(0) / deviation).mean())
            out[f"{name}_{reach}_indefinite"] = indefinite
    return out


def _nothing(day: Tensor) -> Observation:
    shape = day.shape
    return Observation(
        view=View.SEASON,
        reflectance=torch.zeros(*shape, len(BANDS)),
        valid=torch.zeros(*shape, len(BANDS), dtype=torch.bool),
        geometry=torch.zeros(*shape, 3),
        platform=torch.zeros(shape, dtype=torch.long),
        day=day,
        bands=BANDS,
    )


def seasons(model: Season, count: int, dates: int, seed: int) -> tuple[Observation, Tensor]:
    """Noisy seasons of which half of the dates are clear, and leaf area (n, T)."""
    sample = draw_seasons(model, SeasonSurvey(dates=dates, window=WINDOW), count, seed)
    assert sample.truth is not None
    g = generator("benchmark assimilation", seed)
    seen = model.observe(sample, g)
    kept = torch.rand(count, dates, generator=g).argsort(-1) < round(CLEAR * dates)
    return replace(seen, valid=seen.valid & kept.unsqueeze(-1)), sample.truth[..., LAI]


def scores(found: Draws, truth: Tensor, clear: Tensor) -> dict[str, float]:
    """RMSE of the mean, CRPS and coverage of leaf area on clear and clouded dates."""
    z = found.z[..., LAI]
    k = len(z)
    ordered = z.sort(0).values
    place = torch.arange(1, k + 1).reshape(-1, 1, 1)
    # Unbiased for so few draws: E|z − y| − E|z − z'| / 2 over pairs of different draws.
    spread = (ordered * (2 * place - k - 1)).sum(0) / (k * (k - 1))
    crps = (z - truth).abs().mean(0) - spread
    rank = (z < truth).sum(0) / (k + 1.0) + 0.5 / (k + 1.0)
    inside = ((rank - 0.5).abs() < 0.5 * LEVEL).float()
    out = {}
    for name, which in (("clear", clear), ("clouded", ~clear)):
        out[f"{name}_rmse"] = float((z.mean(0) - truth)[which].square().mean().sqrt())
        out[f"{name}_crps"] = float(crps[which].mean())
        out[f"{name}_covers"] = float(inside[which].mean())
    if found.reliable is not None:
        out["reliable"] = float(found.reliable.float().mean())
    for name in ("residual", "indefinite"):
        if name in found.diagnosis:
            out[name] = float(found.diagnosis[name].max())
    return out


def measured_further(truth: Tensor, clear: Tensor, seed: int) -> tuple[Plots, Coarse]:
    """Two plots a season on clouded dates, and a mean over all pixels and the dates of each third."""
    g = generator("benchmark plots", seed)
    n, dates = truth.shape
    valid = (torch.rand(n, dates, generator=g) + clear.float()).argsort(-1).argsort(-1) < 2
    plots = Plots(
        "lai", truth + PLOT * torch.randn(n, dates, generator=g), torch.full((n, dates), PLOT), valid
    )
    weight = torch.zeros(1, 3, n, dates)
    for third in range(3):
        own = slice(third * dates // 3, (third + 1) * dates // 3)
        weight[0, third, :, own] = 1.0 / (n * len(range(dates)[own]))
    mean = torch.einsum("crpt,pt->cr", weight, truth)
    value = mean + MEAN * torch.randn(mean.shape, generator=g)
    return plots, Coarse("lai", value, torch.full_like(value, MEAN), weight)


def prosail(arguments: argparse.Namespace, name: str) -> dict[str, object]:
    """Leaf area of seasons drawn from the season prior ``name``."""
    pixel = GENERATIVE.build("prosail", BANDS, ("S2A", "S2B"))
    model = Season(pixel, SEASON_PRIORS.build(name, pixel))
    seen, truth = seasons(model, arguments.seasons, arguments.dates, arguments.seed)
    clear = seen.valid.any(-1)
    out: dict[str, object] = {}
    denoiser: Denoiser | None = None
    if name == "season_curves":
        options = DenoiserOptions(reach=arguments.reach, steps=arguments.steps, batch=arguments.batch)
        begun = time.process_time()
        learned, _ = train_denoiser(pixel, model.dynamics, options, arguments.seed)
        held = draw_segments(model.dynamics, 4000, learned.least, generator("held-out segments"))
        with torch.no_grad():
            fresh = type(learned)(pixel, **learned.options)
            out["loss"] = {"learned": float(learned.loss(*held)[0]), "season_gp": float(fresh.loss(*held)[0])}
        out["training_seconds"] = time.process_time() - begun
        denoiser = Composed(learned, options.reach, SeasonGP(pixel))
        print(json.dumps(out), flush=True)
    sampler = Assimilation(
        steps=arguments.levels, corrections=arguments.corrections, tolerance=1e-2, iterations=60
    )
    problem = Problem(model, seen, denoiser)
    plots, coarse = measured_further(truth, clear, arguments.seed)
    asked = {"assimilation": problem}
    if arguments.further:
        asked["with_plots_and_means"] = replace(
            problem, plots=[plots], coarse=[coarse], cell=arguments.seasons
        )
    if name == "season_gp":
        smoothed = Sampled(model, SAMPLERS.build("smoother")).posterior(seen)
        out["smoother"] = scores(smoothed.draw(500, generator("smoother")), truth, clear)
    for key, each in asked.items():
        begun = time.process_time()
        found = Assimilated(each, sampler).draw(arguments.draws, generator(key, arguments.seed))
        out[key] = scores(found, truth, clear) | {"seconds": time.process_time() - begun}
        print(key, json.dumps(out[key]), flush=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="composition,gp,curves")
    for name, default in (
        ("seasons", 6), ("dates", 12), ("draws", 24), ("levels", 16), ("corrections", 0), ("reach", 3),
        ("steps", 3000), ("batch", 256), ("seed", 0), ("further", 1),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    out: dict[str, object] = {}
    with one_thread():
        for part in arguments.parts.split(","):
            out[part] = composition() if part == "composition" else prosail(arguments, f"season_{part}")
            print(part, json.dumps(out[part]), flush=True)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
