"""Draw the pictures of docs/physics.md: spectra against each variable, and what each band sees of it.

    python docs/draw_physics.py

Writes physics_spectra.svg and physics_sensitivity.svg beside this file; same code, same bytes.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from canopyflow.physics import VARIABLES, Prosail
from canopyflow.physics.bands import WAVELENGTHS
from canopyflow.vocabulary import BANDS

HERE = Path(__file__).parent
CENTRE = {
    "N": 1.5, "cab": 45.0, "car": 11.0, "cbrown": 0.1, "cw": 0.025, "cm": 0.005, "lai": 2.0, "lidfa": 57.0,
    "hspot": 0.2, "psoil": 0.5, "rsoil": 1.0,
}  # fmt: skip
VIEW = torch.tensor([30.0, 5.0, 90.0], dtype=torch.float64)
LINES, STEP = 5, 10
STYLE = {
    "svg.hashsalt": "physics",
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def centre() -> torch.Tensor:
    return torch.tensor([CENTRE[v.name] for v in VARIABLES], dtype=torch.float64)


def draw_spectra(model: Prosail) -> None:
    figure, axes = plt.subplots(4, 3, figsize=(9, 9), sharex=True, layout="constrained")
    for i, (v, axis) in enumerate(zip(VARIABLES, axes.flat, strict=False)):
        variables = centre().repeat(LINES, 1)
        variables[:, i] = torch.linspace(v.lower, v.upper, LINES, dtype=torch.float64)
        spectra = model.spectrum(variables, VIEW)[:, ::STEP].numpy()
        for share, value, spectrum in zip(np.linspace(0, 1, LINES), variables[:, i], spectra, strict=True):
            end = share in (0.0, 1.0)
            label = f"{value:.3g}" if end else None
            axis.plot(WAVELENGTHS[::STEP], spectrum, lw=0.8, color=plt.cm.viridis(0.9 * share), label=label)
        axis.set_title(f"{v.name}: {v.long_name}" + ("" if v.unit == "1" else f" ({v.unit})"), fontsize=7.5)
        axis.legend(frameon=False, fontsize=7)
        axis.set_ylim(0, None)
    axes.flat[-1].axis("off")
    axes[2, 2].tick_params(labelbottom=True)
    figure.supxlabel("wavelength (nm)")
    figure.supylabel("bidirectional reflectance factor")
    save(figure, "physics_spectra.svg")


def draw_sensitivity(model: Prosail) -> None:
    """The change of each band over a tenth of each variable's range, signed."""
    width = torch.tensor([v.upper - v.lower for v in VARIABLES], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda z: model(z, VIEW), centre())
    change = (0.1 * jacobian * width).numpy().T
    limit = float(np.abs(change).max())
    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    image = axis.imshow(
        change, aspect="auto", cmap="RdBu_r", norm=matplotlib.colors.SymLogNorm(1e-3, vmin=-limit, vmax=limit)
    )
    for (row, column), value in np.ndenumerate(change):
        strong = abs(image.norm(value) - 0.5) > 0.3
        text, colour = f"{1e3 * value:.1f}".replace("-0.0", "0.0"), "white" if strong else "black"
        axis.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
    axis.set_xticks(range(len(BANDS)), BANDS)
    axis.set_yticks(range(len(VARIABLES)), [v.name for v in VARIABLES])
    axis.spines[:].set_visible(False)
    figure.colorbar(image, label="change of reflectance", ticks=[-0.01, -0.001, 0, 0.001, 0.01])
    axis.set_title("Change of reflectance, in thousandths, for a tenth of the variable's range", fontsize=8)
    save(figure, "physics_sensitivity.svg")


def save(figure: plt.Figure, name: str) -> None:
    figure.savefig(HERE / name, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    with plt.rc_context(STYLE):
        draw_spectra(Prosail(exact=True))
        draw_sensitivity(Prosail(exact=True))


if __name__ == "__main__":
    main()
