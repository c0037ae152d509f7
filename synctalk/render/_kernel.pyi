import numpy as np
from numpy.typing import NDArray
from torch import Tensor

class State: ...

def variant() -> str: ...
def forward(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    backgrounds: Tensor | None,
    width: int,
    height: int,
    near_plane: float,
    far_plane: float,
    radius_clip: float,
    eps2d: float,
    threads: int,
    keep: bool,
    rgb: Tensor,
    alpha: Tensor,
    means2d: Tensor,
    depths: Tensor,
    radii: Tensor,
) -> State: ...
def backward(
    state: State,
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    backgrounds: Tensor | None,
    v_rgb: Tensor,
    v_alpha: Tensor | None,
    v_means: Tensor | None,
    v_quats: Tensor | None,
    v_scales: Tensor | None,
    v_opacities: Tensor | None,
    v_colors: Tensor | None,
    v_viewmats: Tensor | None,
    v_backgrounds: Tensor | None,
    v_means2d: Tensor | None,
    threads: int,
) -> None: ...
def l1_dssim(
    pred: Tensor,
    target: Tensor | None,
    target_u8: Tensor | None,
    weight: Tensor | None,
    l1_factor: float,
    dssim_factor: float,
    grad: Tensor | None,
    threads: int,
) -> tuple[float, float]: ...
def adam_step(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    step: int,
    weight_decay: float,
    threads: int,
) -> None: ...
def low_rank_add(
    out: Tensor, begin: int, basis: Tensor, w: Tensor, mask: Tensor, threads: int
) -> None: ...
def low_rank_backward(
    grad: Tensor,
    begin: int,
    basis: Tensor,
    w: Tensor,
    mask: Tensor,
    v_basis: Tensor,
    v_w: Tensor,
    threads: int,
) -> None: ...
def composite_yuv(
    rgb: NDArray[np.float32],
    alpha: NDArray[np.float32],
    y: NDArray[np.uint8],
    u: NDArray[np.uint8],
    v: NDArray[np.uint8],
    left: int,
    top: int,
) -> None: ...
