"""Rendering: the rasteriser, and in one pass each the image loss, bases and an optimiser step."""

from synctalk.render.bases import Basis, add_bases
from synctalk.render.loss import l1_dssim
from synctalk.render.optim import adam_step
from synctalk.render.rasterizer import RasterizeMeta, rasterize

__all__ = ["Basis", "RasterizeMeta", "adam_step", "add_bases", "l1_dssim", "rasterize"]
