"""Assimilation on plain tensors: correlated coordinates, blocks, measurements that see several of them."""

import pytest
import torch

from canopyflow.errors import ConfigError
from canopyflow.samplers.assimilation import Assimilation, Flow, preconditioner
from canopyflow.samplers.contract import Linearised, Target

BLOCKS, SIZE, ROWS, WIDE = 4, 2, 3, 2
DIM = BLOCKS * SIZE


class Chain:
    """A normal prior that ties blocks to each other; each is measured, and their means are."""

    def __init__(self, wide=True):
        g = torch.Generator().manual_seed(0)
        place = torch.arange(BLOCKS).double()
        tie = 0.3 + 0.7 * torch.exp(-0.7 * (place[:, None] - place).abs())
        self.prior = torch.kron(tie, torch.eye(SIZE).double())
        self.own = torch.randn(BLOCKS, ROWS, SIZE, generator=g)
        self.own[1] = 0.0
        self.y = torch.randn(BLOCKS, ROWS, generator=g)
        self.y[1] = 0.0
        self.wide = torch.randn(WIDE, DIM, generator=g) if wide else None
        self.y_wide = torch.randn(WIDE, generator=g) if wide else None
        rows = [torch.block_diag(*self.own)] + ([] if self.wide is None else [self.wide])
        observed = [self.y.flatten()] + ([] if self.y_wide is None else [self.y_wide])
        design, values = torch.cat(rows).double(), torch.cat(observed).double()
        self.covariance = torch.linalg.inv(torch.linalg.inv(self.prior) + design.T @ design)
        self.mean = self.covariance @ design.T @ values

    def target(self, told=False):
        """``told``: the denoiser says what the covariance is."""
        prior = self.prior.float()

        def denoiser(x, sigma):
            gain = torch.linalg.solve(prior + sigma**2 * torch.eye(DIM), prior)
            product = (lambda v: sigma**2 * v @ gain) if told else None
            return x @ gain, product

        def linearise(x):
            blocks = x.unflatten(-1, (BLOCKS, SIZE))
            residual = self.y - torch.einsum("bms,...bs->...bm", self.own, blocks)
            own = self.own.expand(*x.shape[:-1], *self.own.shape)
            if self.wide is None:
                return Linearised(residual, own)
            return Linearised(
                residual, own, self.y_wide - x @ self.wide.T, self.wide.expand(*x.shape[:-1], WIDE, DIM)
            )

        return Target(
            log_density=lambda x: x.sum(-1),
            outward=lambda x: x,
            start=lambda count, g: 2.0 * torch.randn(count, 1, DIM, generator=g),
            denoiser=denoiser,
            linearise=linearise,
        )


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("wide", [True, False])
def test_the_mean_under_noise_is_that_of_a_normal_posterior(wide, told):
    """For any level of noise: E[x | x_σ, y] of a normal prior and a linear measurement."""
    chain = Chain(wide)
    x = torch.randn(5, 1, DIM, generator=torch.Generator().manual_seed(1))
    for sigma in (0.1, 1.0, 10.0):
        flow = Flow(chain.target(told), 1e-6, 100)
        precision = torch.linalg.inv(chain.covariance)
        both = torch.linalg.inv(precision + torch.eye(DIM).double() / sigma**2)
        expected = (precision @ chain.mean + x.double() / sigma**2) @ both
        torch.testing.assert_close(flow.mean(x, sigma).double(), expected, rtol=1e-4, atol=1e-4)
        assert (flow.residual <= 1e-6).all() and (flow.indefinite == 0).all()


@pytest.mark.slow
def test_draws_are_those_of_the_posterior_with_blocks_and_wide_measurements():
    chain = Chain()
    found = Assimilation().draw(chain.target(), (4000,), torch.Generator().manual_seed(0))
    z, deviation = found.z[:, 0].double(), chain.covariance.diagonal().sqrt()
    assert ((z.mean(0) - chain.mean) / deviation).abs().max() < 0.06
    ratio = z.std(0) / deviation
    assert ratio.min() > 0.96 and ratio.max() < 1.04
    exact = chain.covariance / deviation / deviation[:, None]
    assert (torch.corrcoef(z.T) - exact).abs().max() < 0.07
    assert found.reliable.all() and (found.diagnosis["residual"] <= 1e-3).all()


def test_without_corrections_draws_are_carried_without_further_chance():
    chain = Chain()
    flow = Flow(chain.target(), 1e-6, 100)
    x = torch.randn(5, 1, DIM, generator=torch.Generator().manual_seed(1))
    one, two = (flow.step(x, 2.0, 1.5) for _ in range(2))
    assert torch.equal(one, two)
    finer = x
    for high, low in zip(torch.linspace(2.0, 1.5, 21), torch.linspace(2.0, 1.5, 21)[1:], strict=False):
        finer = flow.step(finer, float(high), float(low))
    torch.testing.assert_close(one, finer, rtol=0, atol=2e-3)


def test_systems_that_are_not_solved_make_draws_unreliable():
    chain = Chain()
    found = Assimilation(steps=4, corrections=0, tolerance=1e-5, iterations=1).draw(
        chain.target(), (3,), torch.Generator().manual_seed(0)
    )
    assert not found.reliable.any() and (found.diagnosis["residual"] > 1e-3).all()


def test_a_denoiser_that_is_none_is_told():
    """Its derivative is no covariance: minus the mean it should be."""
    chain = Chain()
    sound = chain.target()
    broken = Target(
        log_density=sound.log_density,
        outward=sound.outward,
        start=sound.start,
        denoiser=lambda x, sigma: (-10.0 * sound.denoiser(x, sigma)[0], None),
        linearise=sound.linearise,
    )
    found = Assimilation(steps=4, corrections=0).draw(broken, (3,), torch.Generator().manual_seed(0))
    assert (found.diagnosis["indefinite"] > 0.2).all() and found.z.isfinite().all()


def test_a_target_without_a_denoiser_is_refused():
    sound = Chain().target()
    with pytest.raises(ConfigError, match="no denoiser"):
        Assimilation().draw(Target(sound.log_density, sound.outward, start=sound.start), (3,))


def test_the_preconditioner_is_the_inverse_where_blocks_are_independent():
    chain = Chain(wide=False)
    seen = chain.target().linearise(torch.zeros(1, DIM))
    u = torch.randn(1, BLOCKS * ROWS, generator=torch.Generator().manual_seed(2))
    image = u + 0.4 * seen.forward(seen.backward(u))
    torch.testing.assert_close(preconditioner(seen, 0.4)(image), u, rtol=1e-4, atol=1e-5)
