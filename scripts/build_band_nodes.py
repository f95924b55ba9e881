"""Build ``src/canopyflow/physics/nodes.npz``: a few virtual wavelengths per band in place of the convolution.

    OMP_NUM_THREADS=1 python scripts/build_band_nodes.py

Run once, by hand, after ``build_physics_data.py``; two minutes on one core. The reflectance of a canopy
at one wavelength depends on the wavelength only by way of a few constants: refractive index, specific
absorptions, dry and wet soil. A node of the quadrature is therefore free to have constants that no real
wavelength has. They are fitted together with the weights (one set per platform, summing to one) to the
convolution with the response functions, over canopies from the whole domain, by the Gauss-Newton method
on a p-norm of the error that rises towards the maximum norm (p-norms as in Lawson's algorithm for
minimax fits). Every leaf model has its own nodes.
Soils brighter than white are left out, of the fit and of the error that is printed, on canopies
that took no part in the fit. Same machine, same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from canopyflow.atomic import atomic_file
from canopyflow.physics.bands import LEAF_MODELS, spectral_data
from canopyflow.physics.prospect import prospect, surfaces
from canopyflow.physics.sail import Structure, campbell, geometry, sail, structure
from canopyflow.vocabulary import BANDS, NAMES, PLATFORMS, VARIABLES

Array = NDArray[np.float64]
TARGET = Path(__file__).parents[1] / "src" / "canopyflow" / "physics" / "nodes.npz"
NODES = dict.fromkeys(BANDS, 3) | {"B8A": 2}
"""Per band: two stand for the narrow B8A as well as three for the others."""
STAGES = ((2, 40), (4, 20), (8, 20), (16, 20))
"""(p, most steps): each norm starts from the solution in the one before."""
LAST_STAGES = ((6, 20), (16, 20), (32, 20))
"""Once the worst of many other canopies have joined the fit."""
DRAWS, OTHERS, JOINING = 5_000, 20_000, 500
SUN_ZENITH, VIEW_ZENITH = 80.0, 20.0
"""Largest, degrees: Sentinel-2 products end near 80 and 12."""


@dataclass(frozen=True)
class Canopies:
    """Simulated canopies whose reflectance is asked for at any optical constants."""

    leaf: torch.Tensor
    mixture: torch.Tensor
    structure: Structure

    @classmethod
    def draw(cls, n: int, seed: int) -> Self:
        """``n`` from the whole domain: uniform, each variable at a bound in one of eight, and with extra
        weight on sparse canopies and bright soils, where bands are hardest to stand for."""
        rng = np.random.default_rng(seed)
        unit = rng.random((n, len(VARIABLES)))
        unit[::2, NAMES.index("lai")] **= 2
        unit[::3, NAMES.index("rsoil")] **= 1 / 3
        corner = rng.random(unit.shape)
        unit = np.where(corner < 1 / 16, 0.0, np.where(corner > 15 / 16, 1.0, unit))
        lower, upper = np.array([v.lower for v in VARIABLES]), np.array([v.upper for v in VARIABLES])
        v = torch.from_numpy((lower + (upper - lower) * unit).T.copy())
        angles = torch.from_numpy(rng.random((n, 3)) * [SUN_ZENITH, VIEW_ZENITH, 180.0])
        lai, mean_angle, hot_spot, dry, brightness = v[-5:]
        canopy = structure(lai, campbell(mean_angle), hot_spot, geometry(angles))
        return cls(v[:-5], torch.stack([brightness * dry, brightness * (1 - dry)]), canopy)

    def rows(self, at: NDArray[np.intp]) -> Self:
        """Some of these."""
        index = torch.from_numpy(at)
        fields = Structure(*(x[..., index] for x in self.structure))
        return type(self)(self.leaf[:, index], self.mixture[:, index], fields)

    def __add__(self, other: Self) -> Self:
        fields = Structure(
            *(torch.cat([a, b], -1) for a, b in zip(self.structure, other.structure, strict=True))
        )
        return type(self)(
            torch.cat([self.leaf, other.leaf], 1), torch.cat([self.mixture, other.mixture], 1), fields
        )

    def reflectance(self, constants: Array) -> Array:
        """(m, canopy) at ``constants`` (refractive index, absorptions, dry and wet soil; m)."""
        c = torch.from_numpy(np.ascontiguousarray(constants))
        interfaces = torch.from_numpy(surfaces(constants[0]))
        rho, tau = prospect(self.leaf[0], self.leaf[1:], c[1:-2], interfaces)
        return np.asarray(sail(rho, tau, c[-2:].T @ self.mixture, self.structure).numpy())

    def possible(self, constants: Array, response: Array) -> NDArray[np.bool_]:
        """(canopy): the soil is no brighter than white. The far corner of the box holds others, on which
        light grows at each bounce; nodes are not fitted to them."""
        return np.asarray((response @ constants[-2:].T @ self.mixture.numpy()).max(0) <= 1.0)

    def convolved(self, constants: Array, response: Array) -> Array:
        """(platform, canopy) by the response (platform, wavelength), a few wavelengths at a time."""
        return sum(
            response[:, i : i + 8] @ self.reflectance(constants[:, i : i + 8])
            for i in range(0, constants.shape[1], 8)
        )


@dataclass
class Fit:
    """Nodes of one band: ``constants`` (constant, m), ``weights`` (platform, m), and their ``error``."""

    constants: Array
    weights: Array
    spectra: Array
    error: Array

    @classmethod
    def at(cls, canopies: Canopies, target: Array, constants: Array, weights: Array) -> Fit:
        spectra = canopies.reflectance(constants)
        return cls(constants, weights, spectra, weights @ spectra - target)


def normal_equations(
    fit: Fit, canopies: Canopies, scale: Array, free: NDArray[np.intp], emphasis: Array
) -> tuple[Array, Array]:
    """Gauss-Newton matrix and gradient: weights but the last of each platform, then scaled constants."""
    platforms, m = fit.weights.shape
    steps = []
    for k in free:
        moved = fit.constants.copy()
        moved[k] += 1e-6 * scale[k]
        steps.append((canopies.reflectance(moved) - fit.spectra) / 1e-6)
    slopes, first = np.stack(steps), platforms * (m - 1)
    size = first + free.size * m
    matrix, gradient = np.zeros((size, size)), np.zeros(size)
    for p in range(platforms):
        jacobian = np.zeros((size, fit.error.shape[1]))
        jacobian[p * (m - 1) : (p + 1) * (m - 1)] = fit.spectra[:-1] - fit.spectra[-1]
        jacobian[first:] = (slopes * fit.weights[p][None, :, None]).reshape(-1, fit.error.shape[1])
        matrix += (jacobian * emphasis[p]) @ jacobian.T
        gradient += jacobian @ (emphasis[p] * fit.error[p])
    return matrix, gradient


def descend(fit: Fit, canopies: Canopies, target: Array, scale: Array, p: int, most: int) -> Fit:
    """Levenberg-Marquardt steps on the p-norm of the error."""
    free, damping = np.flatnonzero(scale), 1e-3
    platforms, m = fit.weights.shape
    top = np.abs(fit.error).max()
    for _ in range(most):
        value = float((np.abs(fit.error / top) ** p).sum())
        matrix, gradient = normal_equations(fit, canopies, scale, free, np.abs(fit.error / top) ** (p - 2))
        # What would leave its bound stays there (Bertsekas 1982): a step cut off would not descend.
        held = platforms * (m - 1) + np.flatnonzero(
            (fit.constants[free].ravel() == 0.0) & (gradient[platforms * (m - 1) :] > 0.0)
        )
        matrix[held], matrix[:, held], gradient[held] = 0.0, 0.0, 0.0
        diagonal, better = np.diag(matrix) + 1e-12 * np.trace(matrix), None
        while better is None and damping < 1e6:
            step = -np.linalg.solve(matrix + damping * np.diag(diagonal), gradient) / (p - 1)
            change = step[: platforms * (m - 1)].reshape(platforms, m - 1)
            weights = fit.weights + np.column_stack([change, -change.sum(1)])
            constants = fit.constants.copy()
            constants[free] += step[platforms * (m - 1) :].reshape(free.size, m) * scale[free, None]
            constants[0], constants[1:] = constants[0].clip(1.05, 2.0), constants[1:].clip(0.0)
            tried = Fit.at(canopies, target, constants, weights)
            if (np.abs(tried.error / top) ** p).sum() < value:
                better, damping = tried, max(damping / 10, 1e-9)
            else:
                damping *= 10
        if better is None:
            break
        fit = better
        if 1 - (np.abs(fit.error / top) ** p).sum() / value < 1e-3:
            break
    return fit


def band_nodes(canopies: Canopies, others: Canopies, constants: Array, response: Array, m: int) -> Fit:
    """Start from the Gauss-Legendre rule in the mean response, fit, take in the worst others, fit again."""
    target, wanted = canopies.convolved(constants, response), others.convolved(constants, response)
    possible = np.flatnonzero(canopies.possible(constants, response))
    canopies, target = canopies.rows(possible), target[:, possible]
    points, weights = np.polynomial.legendre.leggauss(m)
    cumulative = np.cumsum(response.mean(0)) / response.mean(0).sum()
    at = np.searchsorted(cumulative, (points + 1) / 2)
    fit = Fit.at(canopies, target, constants[:, at].copy(), np.tile(weights / 2, (len(response), 1)))
    scale = constants.mean(1)
    for p, most in STAGES:
        fit = descend(fit, canopies, target, scale, p, most)
    error = np.abs(Fit.at(others, wanted, fit.constants, fit.weights).error).max(0)
    error[~others.possible(constants, response)] = 0.0
    worst = np.argsort(error, kind="stable")[-JOINING:]
    canopies, target = canopies + others.rows(worst), np.hstack([target, wanted[:, worst]])
    fit = Fit.at(canopies, target, fit.constants, fit.weights)
    for p, most in LAST_STAGES:
        fit = descend(fit, canopies, target, scale, p, most)
    return fit


def leaf_nodes(model: str) -> tuple[Array, Array]:
    """Constants (constant, node) and weights (platform, band, node) of all bands of one leaf model."""
    data = spectral_data()
    canopies, others, fresh = (Canopies.draw(n, i) for i, n in enumerate((DRAWS, OTHERS, OTHERS), 1))
    spectra = np.concatenate([data.leaf[model], data.soil])
    columns, weights, first = [], np.zeros((len(PLATFORMS), len(BANDS), sum(NODES.values()))), 0
    for place, band in enumerate(BANDS):
        support = data.response[:, place].any(0)
        constants, response = spectra[:, support], data.response[:, place, support]
        fit = band_nodes(canopies, others, constants, response, NODES[band])
        possible = fresh.rows(np.flatnonzero(fresh.possible(constants, response)))
        check = Fit.at(possible, possible.convolved(constants, response), fit.constants, fit.weights).error
        worst, median = np.abs(check).max(1), np.median(np.abs(check), 1)
        print(f"{model:14s} {band} fitted {np.abs(fit.error).max():.1e}, on others", end=" ")
        print(
            *(f"{p} {a:.1e} ({b:.0e})" for p, a, b in zip(PLATFORMS, worst, median, strict=True)), flush=True
        )
        columns.append(fit.constants)
        weights[:, place, first : first + NODES[band]] = fit.weights
        first += NODES[band]
    return np.concatenate(columns, 1), weights


def main() -> None:
    torch.set_num_threads(1)
    print("largest (median) error on canopies that took no part in the fit")
    arrays = {}
    for model in LEAF_MODELS:
        arrays[f"{model} constants"], arrays[f"{model} weights"] = leaf_nodes(model)
    with atomic_file(TARGET) as scratch, scratch.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


if __name__ == "__main__":
    main()
