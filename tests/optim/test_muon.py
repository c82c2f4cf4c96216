"""Muon against one matrix at a time: exact orthogonality by SVD, and a loop in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightmeter.optim.muon import Muon, orthogonalise

Values = NDArray[np.float64]


def slow_orthogonalise(matrix: Values, steps: int) -> Values:
    """The quintic applied to each singular value on its own."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / (np.linalg.norm(matrix) + 1e-7)
    for _ in range(steps):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    result: Values = left @ np.diag(values) @ right
    return result


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6), (1, 5), (5, 1)])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_the_iteration_is_the_quintic_of_each_singular_value(shape: tuple[int, int], steps: int) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = slow_orthogonalise(matrix.numpy(), steps)
    np.testing.assert_allclose(orthogonalise(matrix, steps).numpy(), expected, rtol=1e-8, atol=1e-8)


def test_many_matrices_at_once_are_each_alone() -> None:
    matrices = torch.randn(4, 6, 9, generator=torch.Generator().manual_seed(1))
    together = orthogonalise(matrices)
    for matrix, result in zip(matrices, together, strict=True):
        torch.testing.assert_close(orthogonalise(matrix), result, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 16), (16, 64), (64, 16)])
def test_five_steps_come_near_to_the_nearest_orthogonal_matrix(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalise(matrix, 5)
    singular = torch.linalg.svdvals(result)
    assert singular.min() > 0.3  # the smallest directions of a square matrix are still on their way
    assert singular.median() > 0.65
    assert singular.max() < 1.25
    nearest = left @ right
    cosine = (result * nearest).sum() / (result.norm() * nearest.norm())
    assert cosine > 0.95


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((6, 10), torch.contiguous_format),
        ((6, 4, 3, 3), torch.contiguous_format),
        ((6, 4, 3, 3), torch.channels_last),
        ((12, 2, 1, 1), torch.channels_last),
    ],
)
def test_steps_are_those_of_a_loop(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(shape, generator=generator)
    weight = torch.nn.Parameter(start.clone(memory_format=layout))
    optimizer = Muon([weight], lr=0.1, momentum=0.6, steps=3)
    slow, average = start.double().numpy().reshape(shape[0], -1).copy(), np.zeros((shape[0], start[0].numel()))
    for _ in range(4):
        gradient = torch.randn(shape, generator=generator)
        weight.grad = gradient.clone(memory_format=layout)
        optimizer.step()
        g = gradient.double().numpy().reshape(shape[0], -1)
        average = 0.6 * average + g
        update = slow_orthogonalise(g + 0.6 * average, 3)
        slow = slow * (shape[0] ** 0.5 / np.linalg.norm(slow)) - 0.1 * update
        np.testing.assert_allclose(weight.detach().numpy().reshape(shape[0], -1), slow, rtol=1e-3, atol=1e-4)


def test_a_parameter_without_gradient_stays() -> None:
    still = torch.nn.Parameter(torch.ones(3, 3))
    Muon([still], lr=0.1).step()
    assert torch.equal(still, torch.ones(3, 3))
