"""Build ``src/canopyflow/physics/light.npz``: a few virtual wavelengths in place of the integral of FAPAR.

    OMP_NUM_THREADS=1 python scripts/build_light_nodes.py

Run once, by hand, after ``build_physics_data.py``; ten seconds on one core. The method is that of
``build_band_nodes.py``, on the same canopies: constants of materials and weights are fitted together, here to
the share of sunlight between 400 and 700 nm that a canopy absorbs. Same machine, same bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from build_band_nodes import DRAWS, OTHERS, Array, Canopies, Fit, band_nodes
from numpy.typing import NDArray

from canopyflow.atomic import atomic_file
from canopyflow.physics.bands import LEAF_MODELS, PAR_WAVELENGTHS, spectral_data
from canopyflow.physics.light import Lit, absorptance
from canopyflow.physics.prospect import prospect, surfaces

TARGET = Path(__file__).parents[1] / "src" / "canopyflow" / "physics" / "light.npz"
NODES = 3


class Absorbers(Canopies):
    """Canopies of which the absorbed share of sunlight is asked for, at any optical constants."""

    def reflectance(self, constants: Array) -> Array:
        """Not what comes back but what stays, (m, canopy) at ``constants`` (8, m)."""
        c = torch.from_numpy(np.ascontiguousarray(constants))
        interfaces = torch.from_numpy(surfaces(constants[0]))
        rho, tau = prospect(self.leaf[0], self.leaf[1:], c[1:-2], interfaces)
        canopy = Lit(self.structure.ks, self.structure.bf, self.structure.lai)
        return np.asarray(absorptance(rho, tau, c[-2:].T @ self.mixture, canopy).numpy())

    def possible(self, constants: Array, response: Array) -> NDArray[np.bool_]:
        """All: between 400 and 700 nm no soil of the box is so bright that light grows without bound."""
        return np.ones(self.leaf.shape[1], bool)


def main() -> None:
    torch.set_num_threads(1)
    data, arrays = spectral_data(), {}
    canopies, others, fresh = (Absorbers.draw(n, i) for i, n in enumerate((DRAWS, OTHERS, OTHERS), 1))
    response = data.sunlight[None]
    for model in LEAF_MODELS:
        constants = np.concatenate([data.leaf[model], data.soil])[:, : PAR_WAVELENGTHS.size]
        fit = band_nodes(canopies, others, constants, response, NODES)
        wanted = fresh.convolved(constants, response)
        check = np.abs(Fit.at(fresh, wanted, fit.constants, fit.weights).error)
        print(f"{model:14s} fitted {np.abs(fit.error).max():.1e}, on others {check.max():.1e}", end=" ")
        print(f"(median {np.median(check):.0e})", flush=True)
        arrays |= {f"{model} constants": fit.constants, f"{model} weights": fit.weights[0]}
    with atomic_file(TARGET) as scratch, scratch.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


if __name__ == "__main__":
    main()
