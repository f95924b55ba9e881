"""Ranges of the training data: what lies beyond is flagged."""

import torch

from canopyflow.training.ranges import angle_range, reflectance_range


def test_reflectance_is_in_range_but_for_a_share_on_either_side() -> None:
    ramp = torch.linspace(0.0, 1.0, 10_001)
    given = torch.stack([ramp[torch.randperm(len(ramp))], 1.0 + 2.0 * ramp], dim=1)
    assert reflectance_range(given, tail=0.01) == {"lower": [0.01, 1.02], "upper": [0.99, 2.98]}
    assert reflectance_range(given) == {"lower": [0.0001, 1.0002], "upper": [0.9999, 2.9998]}


def test_angles_are_in_range_from_the_least_to_the_largest() -> None:
    angles = torch.tensor([[20.0, 3.0, 170.0], [65.1234, 0.5, 20.0], [40.0, 11.0, 90.0]])
    assert angle_range(angles) == {"lower": [20.0, 0.5, 20.0], "upper": [65.123, 11.0, 170.0]}
