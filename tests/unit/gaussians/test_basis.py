"""The linear deformation basis and its masks."""

from __future__ import annotations

import torch

from synctalk.face_sync import facial_mask
from synctalk.gaussians.basis import BasisDeformation, DrivingCoefficients
from synctalk.gaussians.scene import MEAN, N_COLUMNS, activate, pack


def _model() -> tuple[BasisDeformation, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(200, 3, generator=generator)
    means = means[means[:, 1].argsort()]
    base = pack(means, torch.full((200, 3), 0.1), torch.rand(200, 3, generator=generator), 0.8)
    mask = facial_mask(means * 50.0, 0.0, 20.0)
    model = BasisDeformation(base, mask, 4, 3, 2, torch.linspace(0.1, 2.0, N_COLUMNS))
    for name, parameter in model.named_parameters():
        if name.startswith("basis"):
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return model, means * 50.0


def _rest(views: int = 1) -> DrivingCoefficients:
    return DrivingCoefficients(torch.zeros(views, 4), torch.zeros(views, 3), torch.zeros(views, 2))


def test_rest_is_the_base() -> None:
    model, _ = _model()
    assert torch.allclose(model(_rest())[0], model.canonical_params()[0], atol=1e-6)


def test_lips_move_nothing_above_the_seam_and_expressions_nothing_below() -> None:
    model, positions = _model()
    rest = model(_rest())[0]
    lips = DrivingCoefficients(torch.ones(1, 4), torch.zeros(1, 3), torch.zeros(1, 2))
    brows = DrivingCoefficients(torch.zeros(1, 4), torch.ones(1, 3), torch.zeros(1, 2))
    above, below = positions[:, 1] > 10.0, positions[:, 1] < -10.0
    assert torch.equal(model(lips)[0][above], rest[above])
    assert torch.equal(model(brows)[0][below], rest[below])
    assert (model(lips)[0][below] - rest[below]).abs().amin(1).max() > 0.05
    assert (model(brows)[0][above] - rest[above]).abs().amin(1).max() > 0.05


def test_several_views_equal_one_at_a_time() -> None:
    model, _ = _model()
    generator = torch.Generator().manual_seed(1)
    f = DrivingCoefficients(*(torch.randn(3, k, generator=generator) for k in (4, 3, 2)))
    together = model(f)
    alone = torch.cat([model(f[slice(i, i + 1)]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_activation_clamps_what_would_blow_up() -> None:
    model, _ = _model()
    params = model.canonical_params()[0].detach().clone()
    params[0, 7:11] = 1e9
    splats = activate(params, 50.0)
    assert all(torch.isfinite(getattr(splats, n)).all() for n in ("scales", "opacities"))
    assert torch.allclose(splats.means, params[:, MEAN] * 50.0)
