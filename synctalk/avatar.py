"""A trained avatar at run time: driving coefficients in, frames out.

Rendering covers only the window around the head; the rest of a frame is the source's plate. All
heavy arrays are prepared at load, so that a frame costs one small matrix product, one
rasterisation and one blend.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, repeat
from typing import Generic, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.bundle import TORSO_CORNERS, AvatarBundle, BundleManifest
from synctalk.dataset import Tracks, held_out_count
from synctalk.errors import BackendError, BundleError
from synctalk.expression import SubjectExpression
from synctalk.face_sync import ENCODER_VERSION, DrivingSpace, FilmedMouths, LipRegressor
from synctalk.gaussians.basis import DrivingCoefficients
from synctalk.gaussians.restore import restore_deformation
from synctalk.gaussians.scene import activate
from synctalk.gaussians.window import HeadWindow
from synctalk.media import Yuv420
from synctalk.render import rasterize
from synctalk.render.compositing import Cutout
from synctalk.render.layers import Box, Frame, Layer, PortraitLayer, RgbLayer, Video, VideoLayer
from synctalk.render.portrait import blend_portrait, blend_portrait_yuv
from synctalk.render.torso import Neck, jaw_gap
from synctalk.threads import Together

CHUNK = 4
"""Frames that one thread deforms together and renders one by one."""
TOGETHER = 16
"""Chunks, of whatever sessions and dubs, that a GPU renders by one call."""

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

    @classmethod
    def joined(cls, parts: Sequence[Driving]) -> Driving:
        """All frames of ``parts``, one after the other."""
        names = ("lip", "expression", "R", "t")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Heads:
    """Rendered heads of T frames, on the avatar's device.

    Args:
        rgb: [T,h,w,3] premultiplied; alpha: [T,h,w,1].
        corners: [T,2] upper left corner of each in its frame, px; even.
    """

    rgb: Tensor
    alpha: Tensor
    corners: NDArray[np.int64]


class Scene(NamedTuple, Generic[Video]):
    """What one frame of a portrait is made of.

    Args:
        number: of the source frame.
        source: [H,W] that frame; plate: [S,S] what stands behind the head, neck included.
        neck: what of a restored neck was laid into the plate.
    """

    number: int
    source: Video
    plate: Video
    neck: Neck | None


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
        expression = _under(tensors, "expression.")
        self._expression = SubjectExpression.from_state(expression) if expression else None
        self.source_mesh: NDArray[np.float32] = tensors["source.mesh"].numpy()
        self._neck_corners: NDArray[np.int32] | None = None
        if bundle.has_torso:
            self._neck_corners = tensors[TORSO_CORNERS].numpy()
        self._unit_mm = float(tensors["unit_mm"])
        self._gain = float(tensors["coefficient_gain"])
        self._model = restore_deformation(_under(tensors, "deformation."))
        self._model.requires_grad_(False).to(device)
        width, height = bundle.manifest.window
        x, y, z = tensors["window_centre"].tolist()
        self._window = HeadWindow(width, height, (x, y, z), bundle.manifest.size)
        self._K: NDArray[np.float32] = tensors["K"].numpy()
        self._threads = max(torch.get_num_threads(), 1)
        self._pool = ThreadPoolExecutor(self._threads, "render", torch.set_num_threads, (1,))
        self._together = Together(self._heads_of, TOGETHER)

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
        """Coefficients of tracked faces: the oracle that reconstruction is measured with.

        Mouths unlike all that it has learnt are drawn in to those that are nearest.
        """
        mesh, R, t, K = (torch.from_numpy(a) for a in (tracks.mesh, tracks.R, tracks.t, tracks.K))
        lip = self._filmed.draw_in(self.space.lip(mesh, R, t, K).numpy())
        return Driving(lip, self.space.expression(mesh, R, t, K).numpy(), tracks.R, tracks.t)

    @cached_property
    def _filmed(self) -> FilmedMouths:
        learnt = np.ones(self.manifest.n_frames, np.bool_)
        learnt[len(learnt) - held_out_count(len(learnt)) :] = False
        learnt[list(self.manifest.lost)] = False
        return FilmedMouths(self.source.lip[learnt])

    def lips_from_audio(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Lip coefficients [T,K] of audio-visual features [T,D], one row a frame.

        Raises:
            BundleError: the lips were fitted on another encoder than this release's.
        """
        if self.manifest.encoder != ENCODER_VERSION:
            raise BundleError(
                f"{self.bundle.path}: its lips know the audio encoder "
                f"{self.manifest.encoder or 'of an earlier release'}, not {ENCODER_VERSION}.",
                reason="BUNDLE_ENCODER",
                remedy="Train the avatar again with this release.",
            )
        lips: NDArray[np.float32] = self.regressor.predict(torch.from_numpy(features)).numpy()
        return lips

    @property
    def has_expression(self) -> bool:
        """Whether it has learnt to move brows and lids by blendshapes."""
        return self._expression is not None

    @property
    def expression(self) -> SubjectExpression:
        """Brows and lids by blendshapes.

        Raises:
            BundleError: the avatar was trained before there was a choice, or on too little.
        """
        if self._expression is None:
            raise BundleError(
                f"{self.bundle.path} has not learnt to move its brows and lids.",
                reason="AVATAR_WITHOUT_EXPRESSION",
                remedy="Train the avatar again with this release, or keep the source's expression.",
            )
        return self._expression

    def mouth_opening_mm(self, lip: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gap between the inner lips, mm [T]."""
        opening: NDArray[np.float32] = self.space.mouth_opening(torch.from_numpy(lip)).numpy()
        return opening

    def render(self, driving: Driving, plates: Iterable[Image]) -> Iterator[Image]:
        """Crop frames [S,S,3] of ``driving``, each composited on its plate [S,S,3].

        Raises:
            ValueError: fewer plates than frames.
        """
        return self._frames(driving, map(RgbLayer, plates))

    def render_yuv(self, driving: Driving, plates: Iterable[Yuv420]) -> Iterator[Yuv420]:
        """As :meth:`render`, in video samples; the plates [S,S] are written to and come back.

        Raises:
            ValueError: fewer plates than frames.
        """
        return self._frames(driving, map(VideoLayer[Yuv420], plates))

    def render_cutouts(self, driving: Driving, plates: Iterable[Cutout]) -> Iterator[Cutout]:
        """As :meth:`render_yuv`, for plates before no background, and what becomes of their mattes.

        Raises:
            ValueError: fewer plates than frames.
        """
        return self._frames(driving, map(VideoLayer[Cutout], plates))

    def render_portraits(self, driving: Driving, scenes: Iterable[Scene[Video]]) -> Iterator[Video]:
        """Source frames [H,W] with the rendered faces blended in, at their own resolution.

        Only what the blending lets through is rendered. Sources are written to and come back.

        Raises:
            ValueError: fewer scenes than frames.
        """
        return self._frames(driving, map(self._portrait, scenes))

    def _portrait(self, scene: Scene[Video]) -> PortraitLayer[Video]:
        square = self._square(scene.source)
        mesh = self.source_mesh[scene.number]
        return PortraitLayer(scene.source, square, scene.plate, mesh, scene.neck)

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

    @torch.no_grad()
    def heads(self, driving: Driving) -> Heads:
        """The heads of all frames by one call of the rasteriser, on the avatar's device.

        The frames need not follow each other: those that several streams of this avatar want at
        the same time can be rendered together.
        """
        corners = self._window.corners(driving.R, driving.t, self._K)
        Ks = self._window.intrinsics(self._K, corners).to(self.device)
        splats = activate(self.deform(driving), self._unit_mm)
        rgb, alpha, _ = rasterize(
            splats.means, splats.quats, splats.scales, splats.opacities, splats.colors,
            _viewmats(driving).to(self.device), Ks, self._window.width, self._window.height,
        )  # fmt: skip
        return Heads(rgb, alpha, corners)

    def _heads_of(self, drivings: list[Driving]) -> list[Heads]:
        """Of several chunks by one call, in the memory of the CPU."""
        heads = self.heads(Driving.joined(drivings))
        lengths = [len(driving) for driving in drivings]
        parts = zip(
            torch.split(heads.rgb.cpu(), lengths), torch.split(heads.alpha.cpu(), lengths),
            np.split(heads.corners, np.cumsum(lengths)[:-1]), strict=True,
        )  # fmt: skip
        return [Heads(*part) for part in parts]

    def necks(self, order: NDArray[np.int64], lip: NDArray[np.float32]) -> Iterator[Neck | None]:
        """Restored necks of source frames, weighing what their mouths are wider open than ours.

        None where the avatar has none, having been trained before there were any.

        Args:
            order: [T] the source frames; moves by single steps.
            lip: [T,K] coefficients of the lips that will be rendered over them.
        """
        for index, ours, neck in zip(order, lip, self.whole_necks(order), strict=True):
            yield self.weigh_neck(neck, int(index), ours)

    def whole_necks(self, order: NDArray[np.int64]) -> Iterator[Neck | None]:
        """As :meth:`necks`, before they are weighed by what a mouth does."""
        if self._neck_corners is None:
            return repeat(None, len(order))
        return self.bundle.necks(self._neck_corners, order)

    def weigh_neck(self, neck: Neck | None, index: int, lip: NDArray[np.float32]) -> Neck | None:
        """What of ``neck``, of source frame ``index``, shows under a mouth of coefficients [K].

        None where nothing does.
        """
        if neck is None:
            return None
        share = jaw_gap(self._opening(self.source.lip[index]) - self._opening(lip))
        return neck.weighted(share) if share else None

    def _opening(self, lip: NDArray[np.float32]) -> float:
        """Of one frame at a time, which gives the same bits in whatever run it stands."""
        return float(self.mouth_opening_mm(lip[None])[0])

    def blend_portrait(self, crop: Image, source: Image, mesh: NDArray[np.float32]) -> Image:
        """``source`` [S,S,3] with the face of ``crop`` [S,S,3] blended in (METHOD row 11)."""
        return blend_portrait(crop, source, mesh)

    def blend_into(
        self, frame: Yuv420, crop: Yuv420, mesh: NDArray[np.float32], neck: Neck | None = None
    ) -> None:
        """Blend the face of ``crop`` [S,S] into a source frame [H,W], at its own resolution.

        Args:
            neck: what was laid into the crop's plate.
        """
        blend_portrait_yuv(self._square(frame), crop, mesh, neck)

    def _square(self, frame: Video) -> Video:
        """The rendered square of a source frame (views)."""
        part = self.manifest.crop
        if isinstance(frame, Cutout):
            matte = frame.matte[part.y : part.y + part.side, part.x : part.x + part.side]
            return Cutout(self._square(frame.picture), matte)
        areas = zip(frame, (part, part.halved(), part.halved()), strict=True)
        return Yuv420(*(p[a.y : a.y + a.side, a.x : a.x + a.side] for p, a in areas))

    def _frames(self, driving: Driving, layers: Iterable[Layer[Frame]]) -> Iterator[Frame]:
        """Frames in order, rendered in chunks side by side and a little ahead of the reader."""
        source = iter(layers)
        pending: deque[Future[list[Frame]]] = deque()
        for start in range(0, len(driving), CHUNK):
            part = driving[slice(start, start + CHUNK)]
            under = list(islice(source, len(part)))
            if len(under) < len(part):
                raise ValueError(f"{start + len(under)} plates for {len(driving)} frames")
            pending.append(self._pool.submit(self._chunk, part, under))
            if len(pending) > self._threads:
                yield from pending.popleft().result()
        for chunk in pending:
            yield from chunk.result()

    @torch.no_grad()
    def _chunk(self, driving: Driving, under: list[Layer[Frame]]) -> list[Frame]:
        if self.device.type == "cuda":  # one launch for all; a CPU's cache holds one frame's splats
            heads = self._together(driving)
            rows = zip(under, heads.rgb, heads.alpha, heads.corners, strict=True)
            return [layer.lay(*head) for layer, *head in rows]
        boxes = self._boxes(driving, under)
        corners = np.array([box[:2] for box in boxes])
        Ks = self._window.intrinsics(self._K, corners)
        frames = []
        for params, viewmat, K, box, corner, layer in zip(
            self.deform(driving), _viewmats(driving), Ks, boxes, corners, under, strict=True
        ):
            splats, (width, height) = activate(params, self._unit_mm), box.size
            rgb, alpha, _ = rasterize(
                splats.means, splats.quats, splats.scales, splats.opacities, splats.colors,
                viewmat[None], K[None], width, height, num_threads=1,
            )  # fmt: skip
            frames.append(layer.lay(rgb[0], alpha[0], corner))
        return frames

    def _boxes(self, driving: Driving, under: list[Layer[Frame]]) -> list[Box]:
        """The part of each crop to render: the window, as far as it will be seen."""
        corners = self._window.corners(driving.R, driving.t, self._K).tolist()
        width, height = self._window.width, self._window.height
        whole = [Box(x, y, x + width, y + height) for x, y in corners]
        seen = [layer.seen for layer in under]
        return [w if s is None else s.within(w) for w, s in zip(whole, seen, strict=True)]


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
