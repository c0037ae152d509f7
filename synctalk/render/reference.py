"""The rasteriser and the loss in plain torch: readable, any precision, slow.

What the kernels must equal. Every pixel is composited over every Gaussian, so memory grows with
N * H * W: for tests and for reading.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ALPHA_MAX = 0.999  # gsplat 1.5.3
ALPHA_MIN = 1.0 / 255.0
TRANSMITTANCE_MIN = 1e-4
MAX_EXTENT = 3.33  # standard deviations


def rotation_matrices(quats: Tensor) -> Tensor:
    """Rotations of quaternions (w, x, y, z) of any length. [..., 4] -> [..., 3, 3]."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    eps2d: float = 0.3,
) -> tuple[Tensor, Tensor, Tensor]:
    """EWA projection: means2d [N, 2], covariances [N, 2, 2] with the blur, depths [N]."""
    R, t = viewmat[:3, :3], viewmat[:3, 3]
    x, y, z = (means @ R.T + t).unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    # The Jacobian is taken no farther out than 15 % beyond the image's edge.
    margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
    tx = z * torch.clamp(x / z, -(cx / fx + margin_x), (width - cx) / fx + margin_x)
    ty = z * torch.clamp(y / z, -(cy / fy + margin_y), (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    J = torch.stack([fx / z, zero, -fx * tx / z**2, zero, fy / z, -fy * ty / z**2], dim=-1)
    half = J.reshape(-1, 2, 3) @ R @ (rotation_matrices(quats) * scales[:, None, :])
    blur = eps2d * torch.eye(2, dtype=means.dtype)
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)
    return means2d, half @ half.transpose(1, 2) + blur, z


def visible_radii(
    means2d: Tensor,
    covariances: Tensor,
    depths: Tensor,
    opacities: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
) -> Tensor:
    """Half extents of the boxes [N, 2] int32; 0 where a Gaussian is not drawn."""
    extent = torch.sqrt(2 * torch.log(opacities / ALPHA_MIN)).clamp(max=MAX_EXTENT)
    diagonal = torch.stack([covariances[:, 0, 0], covariances[:, 1, 1]], dim=-1)
    radii = torch.ceil(extent[:, None] * torch.sqrt(diagonal))
    size = torch.tensor([width, height], dtype=means2d.dtype)
    inside = ((means2d + radii > 0) & (means2d - radii < size)).all(-1)
    in_depth = (depths >= near_plane) & (depths <= far_plane)
    shown = inside & in_depth & (opacities >= ALPHA_MIN) & (radii > radius_clip).any(-1)
    shown &= torch.isfinite(means2d).all(-1) & torch.isfinite(covariances).all(-1).all(-1)
    return torch.where(shown[:, None], radii, 0.0).to(torch.int32)


def composite(
    means2d: Tensor, covariances: Tensor, opacities: Tensor, colors: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor]:
    """Front-to-back blending of Gaussians sorted by depth: rgb [H, W, 3], transmittance [H, W]."""
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([xs, ys], dim=-1).to(means2d) + 0.5
    rgb = means2d.new_zeros(height, width, 3)
    transmittance = means2d.new_ones(height, width)
    done = torch.zeros(height, width, dtype=torch.bool)
    conics = torch.linalg.inv(covariances)
    for mean, conic, opacity, color in zip(means2d, conics, opacities, colors, strict=True):
        d = mean - pixels
        sigma = 0.5 * (conic[0, 0] * d[..., 0] ** 2 + conic[1, 1] * d[..., 1] ** 2)
        sigma = sigma + conic[0, 1] * d[..., 0] * d[..., 1]
        alpha = torch.clamp(opacity * torch.exp(-sigma), max=ALPHA_MAX)
        alpha = torch.where((sigma >= 0) & (alpha >= ALPHA_MIN) & ~done, alpha, 0.0)
        after = transmittance * (1 - alpha)
        ends = (alpha > 0) & (after <= TRANSMITTANCE_MIN)  # this Gaussian is left out, too
        done |= ends
        weight = torch.where(ends, 0.0, alpha * transmittance)
        rgb = rgb + weight[..., None] * color
        transmittance = torch.where(ends, transmittance, after)
    return rgb, transmittance


def rasterize_reference(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    background: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`synctalk.render.rasterize` for one camera in torch's autograd.

    Args:
        means: [N, 3]; quats [N, 4]; scales [N, 3]; opacities [N]; colors [N, 3]; viewmat [4, 4];
            K [3, 3]; background [3] or None; all of one floating type. The rest as there.

    Returns:
        rgb [H, W, 3], alpha [H, W, 1], radii [N, 2] int32.
    """
    means2d, covariances, depths = project(means, quats, scales, viewmat, K, width, height, eps2d)
    radii = visible_radii(
        means2d, covariances, depths, opacities, width, height, near_plane, far_plane, radius_clip
    )
    order = torch.argsort(torch.where(radii[:, 0] > 0, depths.detach(), torch.inf), stable=True)
    order = order[: int((radii[:, 0] > 0).sum())]
    rgb, transmittance = composite(
        means2d[order], covariances[order], opacities[order], colors[order], width, height
    )
    if background is not None:
        rgb = rgb + transmittance[..., None] * background
    return rgb, 1 - transmittance[..., None], radii


def l1_dssim_reference(
    pred: Tensor, target: Tensor, weight: Tensor | None = None, lambda_dssim: float = 0.2
) -> Tensor:
    """:func:`synctalk.render.l1_dssim` by torch's convolutions."""
    if target.dtype == torch.uint8:
        target = target.to(pred.dtype) / 255
    x = torch.arange(-5, 6, dtype=pred.dtype, device=pred.device)
    taps = torch.exp(-(x**2) / (2 * 1.5**2))
    taps = taps / taps.sum()
    window = (taps[:, None] * taps)[None, None].expand(3, 1, 11, 11)

    def blur(image: Tensor) -> Tensor:
        return F.conv2d(image, window, padding=5, groups=3)

    # contiguous: a channels-last convolution may run in TF32 on a GPU, too coarse for variances
    p, t = (image.permute(0, 3, 1, 2).contiguous() for image in (pred, target))
    mu_p, mu_t = blur(p), blur(t)
    var_p, var_t = blur(p * p) - mu_p**2, blur(t * t) - mu_t**2
    cov = blur(p * t) - mu_p * mu_t
    c1, c2 = 0.01**2, 0.03**2
    ssim = ((2 * mu_p * mu_t + c1) * (2 * cov + c2)) / (
        (mu_p**2 + mu_t**2 + c1) * (var_p + var_t + c2)
    )
    terms = (1 - lambda_dssim) * (p - t).abs() + lambda_dssim * (1 - ssim)
    return (terms if weight is None else terms * weight[:, None]).mean()
