"""The supervised network on a law whose posterior is known."""

import torch
from lessons import Linear

from canopyflow.models.baseline import Lesson, outputs_of
from canopyflow.models.estimators.supervised import Supervised
from canopyflow.models.runtime import generator


def taught(seed: int = 0, **options: float) -> tuple[Linear, Supervised, list[dict[str, object]]]:
    own = Linear()
    made = Supervised(own, **{"width": 32, "layers": 2, "epochs": 15} | options)  # type: ignore[arg-type]
    lines = made.learn(
        Lesson({"train": own.sample(20_000), "validation": own.sample(2000, seed=1)}, seed=seed)
    )
    return own, made.requires_grad_(False).eval(), lines


def test_means_and_deviations_are_those_of_the_exact_posterior() -> None:
    own, made, lines = taught()
    seen = own.observe(own.sample(500, seed=2), torch.Generator().manual_seed(3))
    mean, covariance = own.exact(seen)
    deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    found = made.posterior(seen)
    assert ((found.mean[:, :2] - mean).abs() / deviation).mean() < 0.2
    torch.testing.assert_close(found.deviation[:, :2].mean(0), deviation.mean(0), rtol=0.1, atol=0)
    assert [line["epoch"] for line in lines] == [*range(1, 16)]
    assert lines[-1]["validation"] < lines[0]["validation"]  # type: ignore[operator]


def test_the_same_seed_gives_the_same_weights() -> None:
    one, two, other = (taught(seed, epochs=1)[1].weights() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["body.0.weight"], other["body.0.weight"])


def test_the_best_epoch_is_kept() -> None:
    """With a rate that grows to absurdity the last weights are not those that did best."""
    own, made, lines = taught(learning_rate=3.0, epochs=4)
    values = [line["validation"] for line in lines]
    best = min(value for value in values if value is not None)  # type: ignore[type-var]
    held_back = own.sample(2000, seed=1)
    watched = own.observe(held_back, generator("supervised held back", 0))
    loss = float(made._loss(watched, outputs_of(own, held_back, ["lai", "cab", "ccc"])))
    assert abs(loss - float(best)) < 1e-4  # type: ignore[arg-type]
