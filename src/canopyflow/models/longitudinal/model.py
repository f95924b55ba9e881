"""A longitudinal autoencoder: evidence bound, evidence, paths and spectra of seasons."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from canopyflow.atomic import atomic_folder, write_json
from canopyflow.errors import ConfigError, DataError
from canopyflow.models.generative.contract import Generative
from canopyflow.models.longitudinal.decoders import Decoder, NetworkDecoder, PixelDecoder
from canopyflow.models.longitudinal.flow import FlowLaw
from canopyflow.models.longitudinal.guide import GuideNetwork
from canopyflow.models.longitudinal.law import PathLaw
from canopyflow.models.longitudinal.mapping import MappingLaw
from canopyflow.models.longitudinal.paths import Paths, draw_paths
from canopyflow.models.longitudinal.reader import Reader
from canopyflow.models.longitudinal.vamp import Vamp
from canopyflow.observations.observation import Observation, View

LAWS = ("flow", "mapping")
PRIORS = ("normal", "vamp")
_FORMAT = "canopyflow-longitudinal"


@dataclass(frozen=True)
class LongitudinalOptions:
    """What a longitudinal model is, in plain values.

    ``law``: "flow" or "mapping"; ``prior`` of the state at the origin, "normal" or "vamp" (flow only);
    ``posterior``: "gaussian" or "iaf"; ``dim``: coordinates of a path, taken from the pixel model where the
    decoder is one; ``innovations`` and ``context``: see :mod:`.law` and :mod:`.reader`; ``origin``: day
    before all dates, days since 1 January; ``layers``: coupling layers of the flow (0: affine); ``width`` of
    all networks.
    """

    bands: tuple[str, ...]
    law: str = "flow"
    prior: str = "normal"
    posterior: str = "iaf"
    dim: int = 6
    innovations: bool = True
    context: bool = True
    origin: float = -60.0
    layers: int = 4
    width: int = 64

    def __post_init__(self) -> None:
        for what, value, known in (("law", self.law, LAWS), ("prior", self.prior, PRIORS)):
            if value not in known:
                raise ConfigError(f"{what} {value!r} of paths is unknown", f"known: {', '.join(known)}")
        if self.prior == "vamp" and self.law != "flow":
            raise ConfigError(
                f"law {self.law!r} has no vamp prior", "its statics are normal: take the prior 'normal'"
            )


class Longitudinal(nn.Module):
    """p(x_1 … x_T, path) and its posterior. Seasons are observations of view SEASON with ``day``.

    ``pixel``: a generative model of pixels as decoder; None for a network on spectra with learned noise.
    Dates may be in any order; what stands under invalid entries changes nothing. Raises DataError for seasons
    without days, with other bands, or with a day before the origin.
    """

    def __init__(self, options: LongitudinalOptions, pixel: Generative | None = None) -> None:
        super().__init__()
        self.options = options
        self.decoder: Decoder = (
            NetworkDecoder(options.bands, options.dim, options.width)
            if pixel is None
            else PixelDecoder(pixel)
        )
        if self.decoder.bands != options.bands:
            raise ConfigError(
                f"the pixel model has the bands {', '.join(self.decoder.bands)}", "give these to the options"
            )
        dim = self.decoder.dim
        self.law: PathLaw = (
            FlowLaw(dim, options.origin, options.innovations, options.layers, options.width // 2)
            if options.law == "flow"
            else MappingLaw(dim, options.origin, options.innovations)
        )
        self.reader = Reader(options.bands, options.width, context=options.context)
        self.guide = GuideNetwork(options.width, dim, self.law.statics, options.posterior, options.width)
        self.vamp = Vamp(self.reader, self.guide.anchor, options.origin) if options.prior == "vamp" else None
        if self.vamp is not None:
            self.law.first = self.vamp

    @torch.no_grad()
    def standardise(self, seen: Observation) -> None:
        """Take means and deviations of the bands, and first pseudo-inputs, from the seasons to learn from."""
        seen = self._checked(seen)[0]
        self.reader.standardise(seen)
        self.decoder.standardise(seen)
        if self.vamp is not None:
            self.vamp.standardise(seen)

    def elbo(self, seen: Observation, draws: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """A lower bound (n) of log p(x) of the valid entries, in nats per season, differentiable."""
        return self._weights(self._checked(seen)[0], draws, None, generator)[1].mean(0)

    @torch.no_grad()
    def evidence(
        self,
        seen: Observation,
        draws: int = 200,
        generator: torch.Generator | None = None,
        anchor: Tensor | None = None,
    ) -> Tensor:
        """Importance estimate (n) of log p(x) of the valid entries, nats per season.

        ``anchor`` (n): index of the date that paths start from, -1 for the origin; None: for each draw, one
        of the observed dates.
        """
        ordered, order = self._checked(seen)
        if anchor is not None:
            # From the place in the season as given to the place in order of day; node 0 is the origin.
            anchor = torch.where(anchor < 0, 0, (order == anchor[:, None]).long().argmax(-1) + 1)
        weights = self._weights(ordered, draws, anchor, generator)[1]
        return torch.logsumexp(weights, dim=0) - torch.tensor(float(draws)).log()

    def paths(self, seen: Observation, count: int, generator: torch.Generator | None = None) -> Paths:
        """``count`` paths of the posterior at all dates of ``seen``, as they are ordered there."""
        ordered, order = self._checked(seen)
        paths = self._weights(ordered, count, None, generator)[0]
        back = order.argsort(-1)
        index = back[None, :, :, None].expand(paths.z.shape)
        return replace(paths, z=paths.z.gather(-2, index))

    @torch.no_grad()
    def predict(
        self, seen: Observation, count: int, generator: torch.Generator | None = None, noisy: bool = True
    ) -> Tensor:
        """Draws (count, n, T, band) of the reflectance at all dates, as a sensor would report it."""
        z = self.paths(seen, count, generator).z
        return self.decoder.observe(z, seen, generator) if noisy else self.decoder(z, seen)

    @torch.no_grad()
    def season(
        self, seen: Observation, count: int, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Draws (count, n) of ``emergence``, days since 1 January, and ``season_speed``, 1 for the mean one.

        Raises ConfigError for a law that has neither.
        """
        if not isinstance(self.law, MappingLaw):
            raise ConfigError(f"law {self.options.law!r} has no emergence", "take the law 'mapping'")
        s = self.paths(seen, count, generator).statics
        return {"emergence": self.law.emergence(s), "season_speed": self.law.speed(s)}

    def _weights(
        self,
        seen: Observation,
        draws: int,
        anchor: Tensor | None,
        generator: torch.Generator | None,
    ) -> tuple[Paths, Tensor]:
        """Paths of seasons whose dates are in order, and log p(x, path) − log q(path) (draws, n)."""
        assert seen.day is not None
        node = self._anchors(seen, draws, generator) if anchor is None else anchor.expand(draws, len(anchor))
        guide = self.guide(*self.reader(seen, self.options.origin))
        paths = draw_paths(self.law, guide, seen.day.to(self.law.log_memory), node, generator)
        return paths, paths.log_ratio + self.decoder.log_likelihood(paths.z, seen).sum(-1)

    def _anchors(self, seen: Observation, draws: int, generator: torch.Generator | None) -> Tensor:
        """Nodes (draws, n): for each draw an observed date, the origin of a season that has none."""
        known = seen.valid.any(-1).float()
        nothing = ~known.bool().any(-1, keepdim=True)
        chances = torch.cat([nothing.float(), known], dim=-1)
        return torch.multinomial(chances, draws, replacement=True, generator=generator).T

    def _checked(self, seen: Observation) -> tuple[Observation, Tensor]:
        """Seasons with their dates in order of day, and that order (n, T)."""
        if seen.view is not View.SEASON or seen.day is None:
            raise DataError(
                "a longitudinal model reads seasons", "give an observation of view SEASON with day"
            )
        day = seen.day
        if seen.bands != self.options.bands:
            seen = seen.in_bands(self.options.bands)
        if bool(torch.lt(day, self.options.origin).any()):
            raise DataError(
                f"a date is {float(day.min()):g} days from 1 January, before the model's origin",
                f"the origin is day {self.options.origin:g}: count days from the year of the season",
            )
        order = day.argsort(dim=-1, stable=True)

        def sort(tensor: Tensor) -> Tensor:
            index = order.reshape(*order.shape, *(1,) * (tensor.ndim - order.ndim)).expand(tensor.shape)
            return tensor.gather(1, index)

        return seen.each(sort), order


def save(model: Longitudinal, folder: str | Path, meta: dict[str, Any], history: Sequence[Any] = ()) -> None:
    """Write a model with a network decoder as a folder: weights without pickle, and JSON that describes it.

    ``meta``: plain values about its training. Raises ConfigError for one with a pixel model as decoder, whose
    physics such a folder does not hold.
    """
    if not isinstance(model.decoder, NetworkDecoder):
        raise ConfigError(
            "a longitudinal model with a pixel decoder is not saved", "keep its pixel model and state_dict"
        )
    with atomic_folder(folder) as scratch:
        weights = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
        save_file(weights, scratch / "weights.safetensors")
        digest = hashlib.sha256((scratch / "weights.safetensors").read_bytes()).hexdigest()
        content = {
            "format": _FORMAT,
            "options": asdict(model.options),
            "weights_sha256": digest,
            "meta": meta,
        }
        write_json(scratch / "model.json", {**content, "history": list(history)})


def load(folder: str | Path) -> Longitudinal:
    """The model that :func:`save` wrote, ready for inference. Raises DataError if missing or damaged."""
    folder = Path(folder)
    try:
        content = json.loads((folder / "model.json").read_text())
        if content["format"] != _FORMAT:
            raise KeyError("format")
        options = {**content["options"], "bands": tuple(content["options"]["bands"])}
        model = Longitudinal(LongitudinalOptions(**options))
        path = folder / "weights.safetensors"
        if hashlib.sha256(path.read_bytes()).hexdigest() != content["weights_sha256"]:
            raise DataError(
                f"{path} is not the file that model.json describes", "copy the whole folder again"
            )
        model.load_state_dict(load_file(path))
    except (OSError, KeyError, TypeError, json.JSONDecodeError, RuntimeError) as error:
        raise DataError(f"{folder} is no longitudinal model: {error}", "train it again") from None
    return model.eval().requires_grad_(False)
