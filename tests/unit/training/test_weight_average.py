"""The moving average of the weights, which is what an avatar ships."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synctalk.training.optimiser import WeightAverage


def wandering(steps: int) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(1.0 + torch.randn(50, generator=generator)) for _ in range(steps)]


def averaged(path: list[nn.Parameter], decay: float, every: int) -> torch.Tensor:
    average = WeightAverage(decay)
    for step, parameter in enumerate(path, 1):
        if step % every == 0:
            average.update([("p", parameter)], step)
    result = nn.Parameter(torch.zeros(50))
    average.take([("p", result)])
    return result.detach()


@pytest.mark.parametrize("every", [1, 5])
def test_it_is_the_exponential_average_from_its_first_update_on(every: int) -> None:
    path = wandering(40)
    expected = path[every - 1].detach().clone()
    for step in range(2 * every, 41, every):
        kept = 0.9**every
        expected = kept * expected + (1 - kept) * path[step - 1].detach()
    torch.testing.assert_close(averaged(path, 0.9, every), expected)


def test_it_wanders_less_than_what_it_follows() -> None:
    path = wandering(400)
    spread = (averaged(path, 0.98, 5) - 1.0).std()
    assert spread < 0.3 * (path[-1] - 1.0).std()


def test_it_goes_on_from_its_state_and_does_not_share_memory_with_it() -> None:
    path, whole, first = wandering(20), WeightAverage(0.9), WeightAverage(0.9)
    for step, parameter in enumerate(path, 1):
        whole.update([("p", parameter)], step)
        if step <= 10:
            first.update([("p", parameter)], step)
    second = WeightAverage(0.9)
    second.load_state(first.state())
    first.update([("p", nn.Parameter(torch.full((50,), 1e6)))], 11)
    for step, parameter in enumerate(path[10:], 11):
        second.update([("p", parameter)], step)
    a, b = nn.Parameter(torch.zeros(50)), nn.Parameter(torch.zeros(50))
    whole.take([("p", a)])
    second.take([("p", b)])
    assert torch.equal(a, b)
    assert WeightAverage(0.9).state() == {}
