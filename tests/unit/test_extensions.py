"""A family, encoder, objective, prior, sampler or estimator is one file, of the checkout or of a package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import canopyflow

ENTRIES = {
    "families": (
        "posteriors",
        "mine",
        """
from canopyflow.posteriors.logit_normal import LogitNormal

class Mine(LogitNormal):
    summary = "logit-normal under another name"

FAMILY = Mine
""",
    ),
    "encoders": (
        "models/encoders",
        "narrow",
        """
from canopyflow.models.encoders.pixel import PixelEncoder

class Narrow(PixelEncoder):
    def __init__(self, bands, platforms, depth: int = 1):
        super().__init__(bands, platforms, width=8, blocks=depth)

ENCODER = Narrow
""",
    ),
    "objectives": (
        "training/objectives",
        "scaled",
        """
from dataclasses import dataclass
from typing import ClassVar
from canopyflow.training.objectives.contract import Objective, divergence_terms

@dataclass(frozen=True)
class Scaled(Objective):
    trains: ClassVar[tuple[str, ...]] = ("encoder", "family", "learned_prior")
    factor: float = 2.0

    def loss(self, model, sample, draws, step=None):
        log_likelihood, divergence = divergence_terms(model, sample, draws)
        return self.factor * (divergence - log_likelihood)

OBJECTIVE = Scaled
""",
    ),
    "priors": (
        "models/priors",
        "tilted",
        """
import torch
from canopyflow.models.priors.contract import LearnedPrior

class Tilted(LearnedPrior):
    def __init__(self, bands, lower, upper):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.zeros(len(lower)))

    def forward(self, u, posterior):
        return u @ self.slope

PRIOR = Tilted
""",
    ),
    "samplers": (
        "samplers",
        "starts",
        """
from typing import ClassVar
from canopyflow.samplers.contract import Draws, Sampler

class Starts(Sampler):
    needs: ClassVar[frozenset[str]] = frozenset({"start"})

    def draw(self, target, shape, generator=None):
        return Draws(target.outward(target.start(shape[0], generator)))

SAMPLER = Starts
""",
    ),
    "estimators": (
        "models/estimators",
        "twice",
        """
from canopyflow.models.estimators.contract import Estimator

class Twice(Estimator):
    def __init__(self, base, times: int = 2):
        self.base, self.times, self.generative, self.meta = base, times, base.generative, base.meta

    @property
    def device(self):
        return self.base.device

    def posterior(self, seen):
        return self.base.posterior(seen)

ESTIMATOR = Twice
""",
    ),
}
"""Kind → folder inside the checkout, name, source."""

USE = """
import sys
from pathlib import Path
import torch
from canopyflow.campaigns.fingerprint import fingerprint
from canopyflow.config import load_campaign
from canopyflow.inference.summaries import Wanted, summarise
from canopyflow.models import load
from canopyflow.models.estimators.amortised import ModelOptions
from canopyflow.models.estimators.sampled import Sampled
from canopyflow.models.simulate import Survey, simulate
from canopyflow.observations.sources.simulations import Simulations
from canopyflow.registry import ESTIMATORS, SAMPLERS
from canopyflow.training.loop import plan, train

folder, bands, platforms = Path(sys.argv[1]), ("B03", "B04", "B08"), ("S2A",)
campaign = load_campaign({
    "campaign": "mine", "area": None, "period": None, "archive": None, "families": ["mine"],
    "grid": {"bands": list(bands)}, "encoder": {"kind": "narrow", "depth": 2},
    "training": {"learned_prior": "tilted", "batch_size": 64, "phases": [
        {"objective": "scaled", "options": {"factor": 3.0}, "epochs": 1}]},
})
assert fingerprint(None, *campaign.modules("mine"))
for split in ("train", "validation"):
    simulate(folder / f"{split}.zarr", Survey(), n=128, bands=bands, platforms=platforms, seed=len(split))
how = {**campaign.training.plan, "summaries": None}
for name in ("threads", "device", "learned_prior"):
    del how[name]
encoder = campaign.encoder.model_dump()
options = ModelOptions(
    "mine", bands, platforms, encoder=encoder.pop("kind"), encoder_options=encoder,
    learned_prior=campaign.training.learned_prior)
stores = {"simulations": {split: folder / f"{split}.zarr" for split in ("train", "validation")}}
train(folder / "bundle", options, plan(**how), stores, checkpoint=folder / "checkpoint")
model = load(folder / "bundle")
assert type(model.family).__name__ == "Mine" and len(model.encoder.blocks) == 2
assert model.learned_prior.slope.abs().sum() > 0
seen = Simulations().load(folder / "train.zarr", bands, platforms, 4).seen
estimator = ESTIMATORS.build("twice", model, times=3)
assert summarise(estimator, seen, Wanted(samples=20)).stats.shape[0] == 4
drawn = Sampled(model.generative, SAMPLERS.build("starts")).posterior(seen).draw(5, torch.Generator())
assert drawn.z.shape == (5, 4, 11)
print("used")
"""


@pytest.fixture(params=["inside", "outside"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    """PYTHONPATH on which the entries are: files of the checkout, or a package with entry points."""
    source = Path(canopyflow.__file__).parent
    if request.param == "inside":
        copy = tmp_path / "src/canopyflow"
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for folder, name, text in ENTRIES.values():
            (copy / folder / f"{name}.py").write_text(text)
        return [copy.parent]
    package = tmp_path / "site/their_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    points = []
    for kind, (_, name, text) in ENTRIES.items():
        (package / f"my_{name}.py").write_text(text)
        points += [f"[canopyflow.{kind}]", f"{name} = their_package.my_{name}"]
    metadata = tmp_path / "site/their_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join(points) + "\n")
    return [tmp_path / "site", source.parent]


@pytest.mark.slow
def test_an_entry_of_each_kind_is_one_file(path: list[Path], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.endswith("used\n"), done.stderr[-3000:]
