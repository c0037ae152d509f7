"""Tensors out of other projects' checkpoint files, without running what such a file may hold."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from synctalk.errors import MissingModelError


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name.

    Args:
        path: ``.safetensors``, or the format in which these networks were published, read by
            torch's reader for tensors only: it knows no other classes and calls nothing.

    Raises:
        MissingModelError: the file is damaged, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, Tensor] = load_file(path)
            return tensors
        found = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): tensor for name, tensor in found.items()}
    except Exception as error:  # a foreign file fails in many ways
        raise unusable(path, error) from error


def fill(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Give ``network`` its tensors and freeze it.

    Raises:
        MissingModelError: the tensors of ``path`` are not this network's.
    """
    try:
        network.load_state_dict(tensors)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise unusable(path, error) from error
    network.requires_grad_(False).eval()


def unusable(path: Path, error: Exception) -> MissingModelError:
    """The error of a file that is there but is not what its name says."""
    return MissingModelError(
        f"{path} cannot be used: {str(error).splitlines()[0] if str(error) else error!r}",
        reason="QUALITY_MODEL_UNUSABLE",
        remedy="Put the published file there, or take this one away to leave the metric out.",
    )
