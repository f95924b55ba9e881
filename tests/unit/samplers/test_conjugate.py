"""Conjugate gradients side by side: solved, held when done, given up where there is nothing to solve."""

import torch

from canopyflow.samplers._conjugate import conjugate_gradients


def systems(n=4, m=12):
    g = torch.Generator().manual_seed(0)
    root = torch.randn(n, m, m, generator=g, dtype=torch.double)
    matrix = torch.eye(m, dtype=torch.double) + root @ root.mT
    return matrix, torch.randn(n, m, generator=g, dtype=torch.double)


def apply(matrix):
    return lambda u: (matrix @ u[..., None])[..., 0]


def test_it_solves_and_says_how_well():
    matrix, right = systems()
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    for near in (lambda u: u, lambda u: u / diagonal):
        found = conjugate_gradients(apply(matrix), right, near, 1e-8, 100)
        torch.testing.assert_close(found.u, torch.linalg.solve(matrix, right), rtol=1e-5, atol=1e-7)
        assert (found.residual <= 1e-8).all() and found.positive.all()
    early = conjugate_gradients(apply(matrix), right, lambda u: u, 1e-8, 3)
    left = (right - apply(matrix)(early.u)).norm(dim=-1) / right.norm(dim=-1)
    torch.testing.assert_close(early.residual, left)
    assert (early.residual > 1e-8).all()


def test_a_good_preconditioner_needs_one_step():
    matrix, right = systems()
    exact = torch.linalg.inv(matrix)
    found = conjugate_gradients(apply(matrix), right, apply(exact), 1e-8, 1)
    assert (found.residual <= 1e-8).all()


def test_what_one_system_needs_changes_no_bit_of_another():
    matrix, right = systems()
    one = conjugate_gradients(apply(matrix), right, lambda u: u, 1e-6, 100)
    harder = matrix.clone()
    harder[1] = harder[1] * torch.linspace(1.0, 40.0, 12).sqrt().outer(torch.linspace(1.0, 40.0, 12).sqrt())
    two = conjugate_gradients(apply(harder), right, lambda u: u, 1e-6, 100)
    assert not torch.equal(one.u[1], two.u[1])
    assert torch.equal(one.u[[0, 2, 3]], two.u[[0, 2, 3]])


def test_indefinite_systems_are_held_and_told():
    matrix, right = systems()
    matrix[2] = -matrix[2]
    matrix[3] = torch.nan
    found = conjugate_gradients(apply(matrix), right, lambda u: u, 1e-8, 100)
    assert found.positive.tolist() == [True, True, False, False]
    assert found.u.isfinite().all() and (found.residual[:2] <= 1e-8).all()


def test_nothing_to_explain_is_explained_by_nothing():
    matrix, right = systems()
    found = conjugate_gradients(apply(matrix), torch.zeros_like(right), lambda u: u, 1e-8, 100)
    assert (found.u == 0.0).all() and (found.residual == 0.0).all() and found.positive.all()
