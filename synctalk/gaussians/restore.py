"""A deformation back from its tensors, as bundles and checkpoints hold them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from synctalk.face_sync import FacialMask
from synctalk.gaussians.basis import BasisDeformation
from synctalk.gaussians.lowrank import LowRankDeformation
from synctalk.gaussians.triplane import TriplaneDeformation, headed_columns

Deformation = BasisDeformation | TriplaneDeformation | LowRankDeformation


def restore_deformation(state: Mapping[str, Tensor]) -> Deformation:
    """The deformation whose ``state_dict`` is ``state``; its kind is told by the names."""
    scale = state["column_scale"]
    base = state["base"] * scale
    model: Deformation
    if "basis_lip" in state:
        n_lip, n_exp, n_pose = (state[f"basis_{k}"].shape[0] for k in ("lip", "exp", "pose"))
        mask = _whole_mask(state, len(base))
        model = BasisDeformation(base, mask, n_lip, n_exp, n_pose, scale)
    elif "directions" in state:
        n_lip, n_exp, n_pose = (int(n) for n in state["sizes"])
        model = LowRankDeformation(base, state["directions"], (n_lip, n_exp, n_pose), scale)
    else:
        n_lip, n_exp, n_pose = (int(n) for n in state["sizes"])
        mask = FacialMask(state["m_lip"], state["m_exp"])
        state = {"headed": headed_columns("all"), **state}  # before there was a choice: all
        model = TriplaneDeformation(base, mask, n_lip, n_exp, n_pose, scale)
    model.load_state_dict(dict(state))
    return model


def _whole_mask(state: Mapping[str, Tensor], n: int) -> FacialMask:
    """Masks [n] from the stored prefix and suffix."""
    lip, expression = torch.zeros(n), torch.zeros(n)
    lip[: len(state["m_lip"])] = state["m_lip"][:, 0]
    expression[n - len(state["m_exp"]) :] = state["m_exp"][:, 0]
    return FacialMask(lip, expression)
