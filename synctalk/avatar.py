"""A trained avatar at run time: driving coefficients in, frames out.

Rendering covers only the window around the head; the rest of a frame is the source's plate. All
heavy arrays are prepared at load, so that a frame costs one small matrix product, one
rasterisation and one blend.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.bundle import AvatarBundle, BundleManifest
from synctalk.dataset import Tracks
from synctalk.errors import BackendError
from synctalk.face_sync import DrivingSpace, LipRegressor
from synctalk.gaussians.basis import DrivingCoefficients
from synctalk.gaussians.restore import restore_deformation
from synctalk.gaussians.scene import activate
from synctalk.gaussians.window import HeadWindow
from synctalk.render import rasterize
from synctalk.render.portrait import blend_portrait

BATCH = 8

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Driving:
    """What the head does in T frames.

    Args:
        lip: [T, K_lip]; expression: [T, K_exp]: standardised coefficients.
        R: [T,3,3], t: [T,3] mm: head pose.
    """

    lip: NDArray[np.float32]
    expression: NDArray[np.float32]
    R: NDArray[np.float32]
    t: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.lip)

    def __getitem__(self, index: slice | NDArray[np.int64]) -> Driving:
        return Driving(self.lip[index], self.expression[index], self.R[index], self.t[index])


class Avatar:
    """An avatar ready to render; open with :meth:`load`."""

    def __init__(self, bundle: AvatarBundle, device: torch.device) -> None:
        tensors = bundle.tensors()
        self.bundle = bundle
        self.device = device
        self.space = DrivingSpace.from_state(_under(tensors, "space."))
        self.regressor = LipRegressor.from_state(_under(tensors, "regressor."))
        self.source = Driving(
            *(tensors[f"source.{name}"].numpy() for name in ("lip", "expression", "R", "t"))
        )
        self.source_mesh: NDArray[np.float32] = tensors["source.mesh"].numpy()
        self._unit_mm = float(tensors["unit_mm"])
        self._gain = float(tensors["coefficient_gain"])
        self._model = restore_deformation(_under(tensors, "deformation."))
        self._model.requires_grad_(False).to(device)
        width, height = bundle.manifest.window
        x, y, z = tensors["window_centre"].tolist()
        self._window = HeadWindow(width, height, (x, y, z), bundle.manifest.size)
        self._K: NDArray[np.float32] = tensors["K"].numpy()
        self._pool = ThreadPoolExecutor(
            max(torch.get_num_threads(), 1), "render", torch.set_num_threads, (1,)
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "auto") -> Avatar:
        """Open a bundle and prepare it for rendering.

        Raises:
            BundleError: the bundle is damaged, incomplete or of another version.
            BackendError: the device is not usable.
        """
        return cls(AvatarBundle.open(path), pick_device(device))

    @property
    def manifest(self) -> BundleManifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    def driving_from_tracks(self, tracks: Tracks) -> Driving:
        """Coefficients of tracked faces: the oracle that reconstruction is measured with."""
        mesh, R, t, K = (torch.from_numpy(a) for a in (tracks.mesh, tracks.R, tracks.t, tracks.K))
        lip = self.space.lip(mesh, R, t, K).numpy()
        return Driving(lip, self.space.expression(mesh, R, t, K).numpy(), tracks.R, tracks.t)

    def lips_from_audio(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Lip coefficients [T,K] of audio-visual features [T,D], one row a frame."""
        lips: NDArray[np.float32] = self.regressor.predict(torch.from_numpy(features)).numpy()
        return lips

    def mouth_opening_mm(self, lip: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gap between the inner lips, mm [T]."""
        opening: NDArray[np.float32] = self.space.mouth_opening(torch.from_numpy(lip)).numpy()
        return opening

    def render(self, driving: Driving, plates: Iterable[Image]) -> Iterator[Image]:
        """Crop frames [S,S,3] of ``driving``, each composited on its plate [S,S,3]."""
        source = iter(plates)
        for start in range(0, len(driving), BATCH):
            part = driving[slice(start, start + BATCH)]
            backgrounds = list(islice(source, len(part)))
            params = self.deform(part)
            corners = self._window.corners(part.R, part.t, self._K)
            Ks = self._window.intrinsics(self._K, corners).to(self.device)
            poses = _viewmats(part).to(self.device)
            yield from self._pool.map(self._composite, params, poses, Ks, corners, backgrounds)

    @torch.no_grad()
    def deform(self, driving: Driving) -> Tensor:
        """Packed splats [T,N,14] of ``driving``."""
        R, t = torch.from_numpy(driving.R), torch.from_numpy(driving.t)
        coefficients = (
            torch.from_numpy(driving.lip),
            torch.from_numpy(driving.expression),
            self.space.pose(R, t),
        )
        f = DrivingCoefficients(*(self._gain * c.to(self.device) for c in coefficients))
        params: Tensor = self._model(f)
        return params

    def blend_portrait(self, crop: Image, source: Image, mesh: NDArray[np.float32]) -> Image:
        """``source`` [S,S,3] with the face of ``crop`` [S,S,3] blended in (METHOD row 11)."""
        return blend_portrait(crop, source, mesh)

    def blend_into(self, frame: Image, crop: Image, mesh: NDArray[np.float32]) -> Image:
        """A source frame [H,W,3], at its own resolution, with the face of ``crop`` [S,S,3]."""
        window = self.manifest.crop
        if window.side != crop.shape[0]:
            scale = window.side / crop.shape[0]
            crop = cv2.resize(crop, (window.side, window.side), interpolation=cv2.INTER_CUBIC)
            mesh = mesh * np.float32(scale)
        area = np.s_[window.y : window.y + window.side, window.x : window.x + window.side]
        blended = frame.copy()
        blended[area] = blend_portrait(crop, frame[area], mesh)
        return blended

    @torch.no_grad()
    def _composite(
        self, params: Tensor, viewmat: Tensor, K: Tensor, corner: NDArray[np.int64], plate: Image
    ) -> Image:
        splats = activate(params, self._unit_mm)
        rgb, alpha, _ = rasterize(
            splats.means, splats.quats, splats.scales, splats.opacities, splats.colors,
            viewmat[None], K[None], self._window.width, self._window.height, num_threads=1,
        )  # fmt: skip
        frame = plate.copy()
        window = self._window.cut(frame, corner)
        cover = rgb[0].cpu().numpy() * 255.0
        below = 1.0 - alpha[0].cpu().numpy()
        window[:] = np.clip(np.rint(cover + below * window), 0, 255)
        return frame


def pick_device(name: str) -> torch.device:
    """``"auto"``, ``"cpu"`` or ``"cuda"`` to a device.

    Raises:
        BackendError: CUDA was asked for and is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            "CUDA is not available on this machine.",
            reason="NO_CUDA",
            remedy="Use --device cpu, or install a CUDA build of torch.",
        )
    return torch.device(name)


def _viewmats(driving: Driving) -> Tensor:
    matrices = torch.eye(4).repeat(len(driving), 1, 1)
    matrices[:, :3, :3] = torch.from_numpy(driving.R)
    matrices[:, :3, 3] = torch.from_numpy(driving.t)
    return matrices


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
