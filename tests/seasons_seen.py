"""Small seasons to try models of trajectories on."""

import torch

from canopyflow.observations.observation import Observation, View

BANDS = ("B02", "B04", "B08")


def season(n=5, dates=7, share=0.6, seed=0, dtype=torch.float32, bands=BANDS):
    """``n`` seasons of which a ``share`` of the dates is seen, at least two of each; dates in any order."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, dates, len(bands), generator=g, dtype=dtype)
    valid = torch.rand(n, dates, generator=g) < share
    valid[:, :2] = True
    return Observation(
        reflectance=x,
        valid=valid[..., None].expand(x.shape).clone(),
        geometry=torch.tensor([40.0, 5.0, 90.0], dtype=dtype).expand(n, dates, 3).clone(),
        platform=torch.zeros(n, dates, dtype=torch.long),
        bands=bands,
        view=View.SEASON,
        day=torch.rand(n, dates, generator=g, dtype=dtype) * 300,
    )
