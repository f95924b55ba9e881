"""Missing dates: what models of seasons say where 20, 40, 60 and 70 % of the dates are hidden.

    OMP_NUM_THREADS=1 python benchmarks/season_missing.py [--dynamics season_curves] [--encoder BUNDLE]

Seasons of a pixel model (PROSAIL) are drawn from a season prior, with noise. Compared at the hidden dates:

* interpolation: linear between the dates that are left, its normal errors (covariance of the bands, by
  how far the nearest date is) measured on the training seasons;
* longitudinal autoencoders with flow dynamics, with a network on spectra and with PROSAIL as decoder, trained
  on seasons of the prior without their truth;
* smoother: the iterated one with the prior `season_gp`, which is not the one that `season_curves` draws from;
* encoder: draws of the season model of a bundle, if one is given, decoded by its own physics and noise.

Columns: log-likelihood of a hidden spectrum, nats a date (the mean density of the draws); root mean square
error of its noise-free reflectance; share of 90 % intervals that hold the noisy reflectance; root mean square
error of leaf area index, of those that say it; and of the autoencoders the log-likelihood of what they saw,
nats a date, by importance. With --methods only some are trained and told. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from canopyflow.models import load
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.estimators.sampled import Sampled
from canopyflow.models.generative._season import Season
from canopyflow.models.longitudinal.decoders import NetworkDecoder, PixelDecoder
from canopyflow.models.longitudinal.model import Longitudinal, LongitudinalOptions
from canopyflow.models.runtime import generator
from canopyflow.models.simulate import SeasonSurvey, draw_seasons
from canopyflow.observations.observation import Observation
from canopyflow.registry import GENERATIVE, SEASON_PRIORS
from canopyflow.samplers.smoother import Smoother
from canopyflow.seeds import seed_of
from canopyflow.training.longitudinal import SeasonTraining, train_longitudinal
from canopyflow.vocabulary import BANDS

PLATFORMS = ("S2A", "S2B")
SHARES = (0.2, 0.4, 0.6, 0.7)
ORIGIN = -30.0
DRAWS = 99
EVIDENCE = 100
LAI = "lai"
NETWORK, PHYSICS = "flow, network", "flow, PROSAIL"
METHODS = ("interpolation", NETWORK, PHYSICS, "smoother", "encoder")


@dataclass
class Said:
    """Of n seasons: ``spectra`` (K, n, T, band) drawn without noise, ``density`` (n, T): log-likelihood of
    the noisy spectra, ``noisy`` (K, n, T, band); perhaps ``lai`` (K, n, T) and ``seen`` (n), the
    log-likelihood of what was seen."""

    spectra: Tensor
    density: Tensor
    noisy: Tensor
    lai: Tensor | None = None
    seen: Tensor | None = None


Method = Callable[[Observation, Observation], Said]
"""Seasons with dates hidden, and the whole ones (for the density of what was hidden)."""


def main() -> None:
    arguments = parsed()
    pixel = GENERATIVE.build("prosail", BANDS, PLATFORMS)
    season = Season(pixel, SEASON_PRIORS.build(arguments.dynamics, pixel))
    train, test = (
        draw_seasons(season, SeasonSurvey(dates=24), n, seed_of("missing", arguments.seed, name) % 2**31)
        for name, n in (("train", arguments.seasons), ("test", arguments.test))
    )
    noisy = season.observe(train, generator("missing", "noise", arguments.seed))
    whole = season.observe(
        replace(test, seen=copied(test.seen)), generator("missing", "test", arguments.seed)
    )
    assert test.truth is not None, "drawn seasons have a truth"
    truth = {
        "clean": test.seen.reflectance.numpy(),
        "noisy": whole.reflectance.numpy(),
        "lai": season.outputs(test.truth, test.seen, [LAI])[..., 0].numpy(),
    }
    methods = everything(arguments, pixel, noisy)
    told: dict[str, Any] = {"dynamics": arguments.dynamics, "seasons": arguments.seasons}
    print(f"{'hidden':>7} {'':22} {'log p':>8} {'rmse':>8} {'covers':>7} {'lai':>6} {'seen':>8}")
    for share in SHARES:
        known, hidden = hide(whole, share, arguments.seed)
        for name, method in methods.items():
            row = scores(method(known, whole), truth, hidden, known)
            told.setdefault(name, {})[f"{share:g}"] = row
            print(f"{share:7.0%} {name:22} {line(row)}", flush=True)
    print(json.dumps(told))


def everything(arguments: argparse.Namespace, pixel: Any, noisy: Observation) -> dict[str, Method]:
    """The methods that are asked for by name, trained."""
    methods: dict[str, Method] = {}
    if "interpolation" in arguments.methods:
        methods["interpolation"] = interpolation(noisy, arguments.seed)
    for name, decoder in ((NETWORK, None), (PHYSICS, pixel)):
        if name not in arguments.methods:
            continue
        torch.manual_seed(seed_of("season_missing", arguments.seed))
        options = LongitudinalOptions(tuple(BANDS), dim=8, prior="normal", origin=ORIGIN)
        model = Longitudinal(options, decoder)
        began = time.process_time()
        steps = arguments.steps if decoder is None else arguments.physics_steps
        how = SeasonTraining(steps=steps, batch=48, dates=12, draws=2, rate=3e-3)
        train_longitudinal(model, noisy, how, seed=arguments.seed)
        print(f"{name}: trained in {(time.process_time() - began) / 60:.1f} CPU minutes", flush=True)
        methods[name] = autoencoder(model, arguments.seed)
    if "smoother" in arguments.methods:
        smooth = Sampled(Season(pixel, SEASON_PRIORS.build("season_gp", pixel)), Smoother())
        methods["smoother"] = estimator(smooth, pixel, arguments.seed)
    if arguments.encoder and "encoder" in arguments.methods:
        trained = season_model(arguments.encoder)
        methods["encoder"] = estimator(trained, trained.generative.base, arguments.seed)
    return methods


def season_model(bundle: str) -> Any:
    """The model of a bundle; it must be one of seasons that knows the bands and satellites."""
    model = load(bundle)
    if not isinstance(model, Amortised) or not isinstance(model.generative, Season):
        raise SystemExit(f"{bundle} is no model of seasons")
    if tuple(model.bands) != BANDS or not set(PLATFORMS) <= set(model.platforms):
        raise SystemExit(f"{bundle} does not know the bands {', '.join(BANDS)} of {', '.join(PLATFORMS)}")
    return model


def scores(said: Said, truth: dict[str, Any], hidden: np.ndarray, known: Observation) -> dict[str, float]:
    """Means over the ``hidden`` (n, T) dates."""
    low, high = np.quantile(said.noisy.numpy()[:, hidden], [0.05, 0.95], axis=0, method="weibull")
    x = truth["noisy"][hidden]
    error = said.spectra.mean(0).numpy()[hidden] - truth["clean"][hidden]
    row = {
        "log_p": float(said.density.numpy()[hidden].mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "coverage": float(((x >= low) & (x <= high)).mean()),
    }
    if said.lai is not None:
        row["lai"] = float(np.sqrt(((said.lai.mean(0).numpy() - truth["lai"])[hidden] ** 2).mean()))
    if said.seen is not None:
        row["seen"] = float((said.seen / known.valid.any(-1).sum(-1)).mean())
    return {name: round(value, 5) for name, value in row.items()}


def line(row: dict[str, float]) -> str:
    lai, seen = (f"{row[k]:.3f}" if k in row else "" for k in ("lai", "seen"))
    return f"{row['log_p']:8.2f} {row['rmse']:8.5f} {row['coverage']:7.3f} {lai:>6} {seen:>8}"


def autoencoder(model: Longitudinal, seed: int) -> Method:
    @torch.no_grad()
    def say(known: Observation, whole: Observation) -> Said:
        g = generator("season_missing", "draws", seed)
        z = torch.cat([model.paths(rows, DRAWS, g).z for rows in known.split(25)], dim=1)
        each = torch.stack([model.decoder.log_likelihood(path, whole) for path in z])
        lai = None
        if isinstance(model.decoder, PixelDecoder):
            state = model.decoder.physical(z, whole)
            lai = state[..., model.decoder.pixel.space.names.index(LAI)]
        spectra = torch.stack([model.decoder(path, whole) for path in z])
        seen = torch.cat([model.evidence(rows, EVIDENCE, g) for rows in known.split(25)])
        return Said(spectra, mean_density(each), observed(model, spectra, whole, g), lai, seen)

    return say


def observed(model: Longitudinal, spectra: Tensor, whole: Observation, g: torch.Generator) -> Tensor:
    """Noise on drawn ``spectra``."""
    if isinstance(model.decoder, NetworkDecoder):
        return spectra + model.decoder.noise * torch.randn(spectra.shape, generator=g)
    return with_noise(model.decoder.pixel, spectra, g)


def estimator(model: Any, pixel: Any, seed: int) -> Method:
    """Any estimator of states: the spectra of its draws at the hidden dates, with the noise of the pixel
    model."""

    @torch.no_grad()
    def say(known: Observation, whole: Observation) -> Said:
        g = generator("season_missing", "draws", seed)
        parts = [model.posterior(rows).draw(DRAWS, g).z for rows in known.split(25)]
        z = torch.cat(parts, dim=1)
        spectra = torch.stack([pixel.decode(path, whole) for path in z])
        each = torch.stack(
            [pixel.noise.log_prob(whole.reflectance, spectrum, whole.partly) for spectrum in spectra]
        )
        lai = z[..., pixel.space.names.index(LAI)]
        return Said(spectra, mean_density(each), with_noise(pixel, spectra, g), lai)

    return say


def with_noise(pixel: Any, spectra: Tensor, g: torch.Generator) -> Tensor:
    noisy: Tensor = pixel.noise.sample(spectra, g)
    return noisy


def mean_density(each: Tensor) -> Tensor:
    """Logarithm (n, T) of the mean of exp ``each`` (K, n, T)."""
    return torch.logsumexp(each, dim=0) - float(np.log(len(each)))


def interpolation(train: Observation, seed: int) -> Method:
    """Linear in time, with the errors that it makes on ``train``."""
    guess, far = [], []
    for share in SHARES:
        known, away = hide(train, share, seed + 1)
        between, gap = interpolated(known)
        guess.append((between - train.reflectance.numpy())[away])
        far.append(gap[away])
    errors, gaps = np.concatenate(guess), np.concatenate(far)
    limits = np.quantile(gaps, np.linspace(0, 1, 11))[1:-1]
    place = np.searchsorted(limits, gaps)
    # Errors of one class of distances have a mean of next to nothing: their second moments are taken.
    classes = {k: errors[place == k].T @ errors[place == k] / (place == k).sum() for k in range(10)}

    def say(known: Observation, whole: Observation) -> Said:
        between, gap = interpolated(known)
        roots = np.stack([np.linalg.cholesky(classes[k] + 1e-9 * np.eye(len(BANDS))) for k in range(10)])
        root = roots[np.searchsorted(limits, gap)]
        white = np.random.default_rng(seed).standard_normal((DRAWS, *between.shape))
        noisy = between + np.einsum("ntij,kntj->knti", root, white)
        error = whole.reflectance.numpy() - between
        scaled = np.linalg.solve(root, error[..., None])[..., 0]
        log_det = np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(-1)
        density = -0.5 * (scaled**2 + np.log(2 * np.pi)).sum(-1) - log_det
        mean = torch.from_numpy(between)[None]
        return Said(mean, torch.from_numpy(density), torch.from_numpy(noisy))

    return say


def interpolated(known: Observation) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation (n, T, band) between the dates that are left, and days (n, T) to the nearest."""
    assert known.day is not None
    x, day, valid = known.reflectance.numpy(), known.day.numpy(), known.valid.any(-1).numpy()
    out, gap = np.empty(x.shape), np.empty(day.shape)
    for row, kept in enumerate(valid):
        for band in range(x.shape[-1]):
            out[row, :, band] = np.interp(day[row], day[row, kept], x[row, kept, band])
        gap[row] = np.abs(day[row][:, None] - day[row, kept]).min(-1)
    return out, gap


def hide(whole: Observation, share: float, seed: int) -> tuple[Observation, np.ndarray]:
    """The seasons with ``share`` of each one's dates hidden, and which (n, T)."""
    n, dates = whole.valid.shape[:2]
    rank = np.random.default_rng((seed, round(100 * share))).random((n, dates)).argsort(-1)
    hidden = rank < round(share * dates)
    return replace(whole, valid=whole.valid & ~torch.from_numpy(hidden)[..., None]), hidden


def copied(seen: Observation) -> Observation:
    return seen.each(lambda tensor: tensor.clone())


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dynamics", default="season_curves")
    parser.add_argument("--seasons", type=int, default=3000)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--physics-steps", type=int, default=1000)
    parser.add_argument("--encoder", help="folder of a season model")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
