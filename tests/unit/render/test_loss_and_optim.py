"""The fused loss and the fused optimiser step against torch."""

from __future__ import annotations

import pytest
import torch
from pytorch_msssim import ssim

from synctalk.errors import InputError
from synctalk.render import adam_step, l1_dssim
from synctalk.render.reference import l1_dssim_reference


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 37, 45), (1, 64, 7), (3, 5, 100)])
@pytest.mark.parametrize("byte_target", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_equal_the_float64_reference(
    shape: tuple[int, int, int], byte_target: bool, weighted: bool
) -> None:
    torch.manual_seed(0)
    pred = torch.rand(*shape, 3, requires_grad=True)
    target = (pred.detach() + 0.2 * torch.randn(*shape, 3)).clamp(0, 1)
    if byte_target:
        target = (target * 255).to(torch.uint8)
    weight = torch.rand(*shape) if weighted else None
    loss = l1_dssim(pred, target, weight, 0.3)
    (3 * loss).backward()
    exact = pred.detach().double().requires_grad_(True)
    wanted = l1_dssim_reference(
        exact,
        target if byte_target else target.double(),
        None if weight is None else weight.double(),
        0.3,
    )
    (3 * wanted).backward()
    assert abs(loss.item() - wanted.item()) <= 1e-6
    assert (pred.grad - exact.grad).norm() <= 1e-4 * exact.grad.norm()


def test_ssim_equals_an_independent_implementation_inside_the_border() -> None:
    """pytorch-msssim does not pad: weigh the border of five pixels away."""
    torch.manual_seed(1)
    a, b = torch.rand(2, 40, 50, 3), torch.rand(2, 40, 50, 3)
    b = 0.7 * a + 0.3 * b
    weight = torch.zeros(2, 40, 50)
    weight[:, 5:-5, 5:-5] = 1 / (30 * 40) * (40 * 50)
    wanted = ssim(a.permute(0, 3, 1, 2), b.permute(0, 3, 1, 2), data_range=1.0)
    assert abs(1 - float(l1_dssim(a, b, weight, 1.0)) - float(wanted)) <= 1e-5


def test_identical_images_have_no_loss_and_no_gradient() -> None:
    image = torch.rand(1, 20, 20, 3, requires_grad=True)
    loss = l1_dssim(image, image.detach().clone())
    loss.backward()
    assert abs(loss.item()) <= 1e-6
    assert image.grad.abs().max() <= 1e-6


def test_loss_is_the_same_for_any_number_of_threads() -> None:
    pred, target = torch.rand(2, 90, 70, 3), torch.rand(2, 90, 70, 3)
    values = {float(l1_dssim(pred, target, num_threads=n)) for n in (1, 2, 4)}
    assert len(values) == 1


def test_loss_names_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="target"):
        l1_dssim(torch.rand(1, 8, 8, 3), torch.rand(1, 8, 9, 3))
    with pytest.raises(InputError, match="pred"):
        l1_dssim(torch.rand(8, 8, 3), torch.rand(8, 8, 3))
    with pytest.raises(InputError, match="weight"):
        l1_dssim(torch.rand(1, 8, 8, 3), torch.rand(1, 8, 8, 3), torch.rand(8, 8))


@pytest.mark.parametrize("size", [1, 13, 100_003])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam_steps_equal_torchs_adamw(size: int, weight_decay: float) -> None:
    torch.manual_seed(0)
    start = torch.randn(size)
    param, mean, square = start.clone(), torch.zeros(size), torch.zeros(size)
    theirs = start.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [theirs], lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=weight_decay
    )
    for step in range(1, 6):
        grad = torch.randn(size)
        adam_step(param, grad, mean, square, 1e-2, 0.9, 0.99, 1e-8, step, weight_decay)
        theirs.grad = grad
        optimizer.step()
    assert (param - theirs.detach()).abs().max() <= 1e-6


def test_adam_refuses_what_it_cannot_update_in_place() -> None:
    good = torch.zeros(4)
    for bad in (torch.zeros(4, dtype=torch.float64), torch.zeros(8)[::2], torch.zeros(5)):
        with pytest.raises(InputError, match="adam_step needs"):
            adam_step(bad, good, good, good, 1e-3)
