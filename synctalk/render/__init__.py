"""Rendering: the rasteriser, the fused image loss and the fused optimiser step."""

from synctalk.render.loss import l1_dssim
from synctalk.render.optim import adam_step
from synctalk.render.rasterizer import RasterizeMeta, rasterize

__all__ = ["RasterizeMeta", "adam_step", "l1_dssim", "rasterize"]
