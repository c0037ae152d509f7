"""Adam with one rate per group and a fused step on the CPU; the average of its last steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synctalk.render import adam_step

BETAS = (0.9, 0.99)
EPS = 1e-15


@dataclass(frozen=True)
class Group:
    """Parameters that share a rate.

    Args:
        parameters: by name.
        lr: learning rate at full rate.
        decay: pull towards zero per step at full rate (0 = none).
    """

    parameters: Mapping[str, nn.Parameter]
    lr: float
    decay: float = 0.0


class Adam:
    """Adam (Kingma and Ba) with decoupled decay, over named parameters."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self.groups = tuple(groups)
        self.step_count = 0
        self._moments = {
            name: (torch.zeros_like(p), torch.zeros_like(p))
            for group in self.groups
            for name, p in group.parameters.items()
        }

    def step(self, rate: float) -> None:
        """One update at ``rate`` times each group's learning rate; clears the gradients."""
        self.step_count += 1
        for group in self.groups:
            for name, parameter in group.parameters.items():
                if parameter.grad is not None:
                    self._update(group, name, parameter, rate)
                    parameter.grad = None

    def _update(self, group: Group, name: str, parameter: nn.Parameter, rate: float) -> None:
        assert parameter.grad is not None
        tensors = (parameter.detach(), parameter.grad.contiguous(), *self._moments[name])
        step = _fused if parameter.device.type == "cpu" else _plain
        step(*tensors, group.lr * rate, group.decay / group.lr, self.step_count)

    def state(self) -> dict[str, Tensor]:
        """Moments by name, and the step count."""
        tensors: dict[str, Tensor] = {"step": torch.tensor(self.step_count)}
        for name, (first, second) in self._moments.items():
            tensors[f"{name}.first"] = first
            tensors[f"{name}.second"] = second
        return tensors

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of :meth:`state`."""
        self.step_count = int(state["step"])
        for name, (first, second) in self._moments.items():
            first.copy_(state[f"{name}.first"])
            second.copy_(state[f"{name}.second"])


class WeightAverage:
    """Moving average of parameters (Polyak): a step follows two frames, the average many.

    Args:
        decay: share of the average that is kept per step.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._step = 0
        self._mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, parameters: Iterable[tuple[str, nn.Parameter]], step: int) -> None:
        """Take in the parameters after ``step``; steps since the last call count as this one."""
        kept = self._decay ** (step - self._step)
        self._step = step
        for name, parameter in parameters:
            if name in self._mean:
                self._mean[name].lerp_(parameter, 1.0 - kept)
            else:
                self._mean[name] = parameter.detach().clone()

    @torch.no_grad()
    def take(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Set the parameters to their average."""
        for name, parameter in parameters:
            parameter.copy_(self._mean[name])

    def state(self) -> dict[str, Tensor]:
        """Average by name, and the step it was last updated after."""
        return {**self._mean, "step": torch.tensor(self._step)} if self._mean else {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of :meth:`state`."""
        self._step = int(state["step"]) if state else 0
        self._mean = {name: mean.clone() for name, mean in state.items() if name != "step"}


def _fused(
    p: Tensor, grad: Tensor, first: Tensor, second: Tensor, lr: float, decay: float, step: int
) -> None:
    adam_step(
        p, grad, first, second, lr=lr, beta1=BETAS[0], beta2=BETAS[1], eps=EPS,
        step=step, weight_decay=decay,
    )  # fmt: skip


def _plain(
    p: Tensor, grad: Tensor, first: Tensor, second: Tensor, lr: float, decay: float, step: int
) -> None:
    """The same step in torch operations, for tensors on a GPU."""
    first.lerp_(grad, 1 - BETAS[0])
    second.lerp_(grad.square(), 1 - BETAS[1])
    scale = (1 - BETAS[1] ** step) ** 0.5
    p.mul_(1 - lr * decay)
    p.addcdiv_(first, second.sqrt().div_(scale).add_(EPS), value=-lr / (1 - BETAS[0] ** step))
