"""A trained SyncTalk (P) head: driving coefficients in, frames out; and its files.

It satisfies ``synctalk.evaluation.protocol.TalkingHead``. The head is rendered at the size it was
trained at and scaled up bicubically, colour and alpha, to the dataset's size; plate and source,
on which it is laid there, keep theirs.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from synctalk.avatar import Driving
from synctalk.baselines.synctalk_p.encoding import TriplaneHash
from synctalk.baselines.synctalk_p.field import HeadField
from synctalk.baselines.synctalk_p.occupancy import OccupancyGrid
from synctalk.baselines.synctalk_p.portrait import blend_face, fill_neck
from synctalk.baselines.synctalk_p.volume import Rays, camera_rays, render_rays
from synctalk.bundle import MANIFEST, BundleManifest
from synctalk.dataset import Tracks, replace_folder, sha256_file
from synctalk.errors import BundleError
from synctalk.face_sync import ENCODER_VERSION, DrivingSpace, LipRegressor
from synctalk.tensor_files import checked

WEIGHTS = "synctalk_p.safetensors"

Image = NDArray[np.uint8]
Float = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class FieldShape:
    """What :class:`HeadField` and its grid are made of; see ``FieldConfig``."""

    size: int
    step_mm: float
    levels: int
    coarsest: int
    finest: int
    log2_table: int
    grid: int


@dataclasses.dataclass(frozen=True)
class SourceTracks:
    """What the neck's fill asks of the footage.

    Args:
        t: [T,3] head translations, mm, by which a frame is told.
        jaw: [T,J,2] tracked jaws, crop px.
        neck: [3] mean RGB of the bare neck in 0..1; NaN where none is seen.
    """

    t: Float
    jaw: Float
    neck: Float


class SyncTalkP:
    """A head ready to render; :meth:`load` or ``train_synctalk_p`` make one."""

    def __init__(
        self,
        manifest: BundleManifest,
        shape: FieldShape,
        field: HeadField,
        grid: OccupancyGrid,
        space: DrivingSpace,
        regressor: LipRegressor,
        K: Float,
        source: SourceTracks,
    ) -> None:
        self._manifest = manifest
        self.shape = shape
        self.field, self.grid = field, grid
        self.space, self.regressor = space, regressor
        self.K, self.source = K, source

    @property
    def manifest(self) -> BundleManifest:
        """Facts of the head; ``settings`` says that and how small it was rendered."""
        return self._manifest

    def driving_from_tracks(self, tracks: Tracks) -> Driving:
        """Coefficients of tracked faces, in the same spaces as our avatars'."""
        mesh, R, t, K = (torch.from_numpy(a) for a in (tracks.mesh, tracks.R, tracks.t, tracks.K))
        lip, expression = self.space.lip(mesh, R, t, K), self.space.expression(mesh, R, t, K)
        return Driving(lip.numpy(), expression.numpy(), tracks.R, tracks.t)

    def lips_from_audio(self, features: Float) -> Float:
        """Lip coefficients [T,K] of audio-visual features [T,D].

        Raises:
            BundleError: the lips were fitted on another encoder than this release's.
        """
        if self.manifest.encoder != ENCODER_VERSION:
            raise BundleError(
                f"The lips of {self.manifest.settings.get('preset')} know the audio encoder "
                f"{self.manifest.encoder}, not {ENCODER_VERSION}.",
                reason="BUNDLE_ENCODER",
                remedy="Train the avatar again with this release.",
            )
        lips: Float = self.regressor.predict(torch.from_numpy(features)).numpy()
        return lips

    def mouth_opening_mm(self, lip: Float) -> Float:
        """Gap between the inner lips [T] of lip coefficients [T,K]."""
        opening: Float = self.space.mouth_opening(torch.from_numpy(lip)).numpy()
        return opening

    def render(self, driving: Driving, plates: Iterable[Image]) -> Iterator[Image]:
        """Crop frames [S,S,3] of ``driving``, each laid over its plate [S,S,3].

        Raises:
            ValueError: fewer plates than frames.
        """
        source = iter(plates)
        for i in range(len(driving)):
            plate = next(source, None)
            if plate is None:
                raise ValueError(f"{i} plates for {len(driving)} frames")
            rgba = self.render_head(driving, i)
            large = cv2.resize(rgba, plate.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)
            under = self._with_neck(plate, driving.t[i])
            frame = 255 * large[..., :3] + (1 - large[..., 3:]) * under
            yield np.rint(frame).clip(0, 255).astype(np.uint8)

    def blend_portrait(self, crop: Image, source: Image, mesh: Float) -> Image:
        """``source`` [S,S,3] with the face of ``crop`` [S,S,3], as the predecessor blends it."""
        return blend_face(crop, source, mesh)

    @torch.no_grad()
    def render_head(self, driving: Driving, i: int) -> Float:
        """Frame ``i``'s head alone: premultiplied RGB and alpha [s,s,4] in 0..1."""
        size = self.shape.size
        R, t = torch.from_numpy(driving.R[i]), torch.from_numpy(driving.t[i])
        K = torch.from_numpy(self.K) * torch.tensor([[size / self.manifest.size]] * 2 + [[1.0]])
        x0, y0, x1, y1 = self._rectangle(R, t, K)
        y, x = torch.meshgrid(torch.arange(y0, y1), torch.arange(x0, x1), indexing="ij")
        pixels = torch.stack([x, y], -1).view(-1, 2).float() + 0.5
        origins, directions = camera_rays(pixels, R, t, K)
        lip, expression = (
            torch.from_numpy(c[i]).expand(len(pixels), -1)
            for c in (driving.lip, driving.expression)
        )
        rays = Rays(origins, directions, lip, expression)
        seen = render_rays(self.field, self.grid, rays, self.shape.step_mm)
        head = np.zeros((size, size, 4), np.float32)
        rgba = torch.cat([seen.rgb, seen.alpha[:, None]], 1)
        head[y0:y1, x0:x1] = rgba.view(y1 - y0, x1 - x0, 4).numpy()
        return head

    def _rectangle(self, R: Tensor, t: Tensor, K: Tensor) -> tuple[int, int, int, int]:
        """Columns and rows that the occupied box can touch."""
        corners = torch.cartesian_prod(*torch.stack(self.grid.bounds(), 1).unbind(0))
        seen = (corners @ R.T + t) @ K.T
        pixels = seen[:, :2] / seen[:, 2:]
        low = pixels.amin(0).floor().long().clamp(0, self.shape.size).tolist()
        high = pixels.amax(0).ceil().long().clamp(0, self.shape.size).tolist()
        return low[0], low[1], high[0], high[1]

    def _with_neck(self, plate: Image, t: Float) -> Image:
        if not np.isfinite(self.source.neck).all():
            return plate
        frame = int(np.square(self.source.t - t).sum(1).argmin())
        return fill_neck(plate, self.source.jaw[frame], self.source.neck)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a folder of ``manifest.json`` and tensors, published in one rename.

        Raises:
            DatasetError: ``path`` exists and is something else.
        """
        final = Path(path)
        partial = final.with_name(final.name + ".writing")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(self._tensors(), partial / WEIGHTS)
        files = {WEIGHTS: sha256_file(partial / WEIGHTS)}
        manifest = dataclasses.replace(self.manifest, files=files)
        (partial / MANIFEST).write_text(manifest.to_json())
        replace_folder(partial, final, MANIFEST)

    def _tensors(self) -> dict[str, Tensor]:
        parts = {
            "field": self.field.state_dict(),
            "grid": self.grid.state_dict(),
            "space": self.space.state(),
            "regressor": self.regressor.state(),
            "source": {k: torch.from_numpy(v) for k, v in vars(self.source).items()},
        }
        named = {f"{p}.{name}": v for p, state in parts.items() for name, v in state.items()}
        named["K"] = torch.from_numpy(self.K)
        return {name: tensor.contiguous() for name, tensor in named.items()}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SyncTalkP:
        """Open what :meth:`save` wrote.

        Raises:
            BundleError: not such a folder, or damaged.
        """
        folder = Path(path)
        if not (folder / MANIFEST).is_file() or not (folder / WEIGHTS).is_file():
            raise BundleError(
                f"{folder} is not a SyncTalk (P) head: {MANIFEST} or {WEIGHTS} is missing.",
                reason="BUNDLE_NOT_FOUND",
                remedy="Train one with benchmarks/synctalk_p.py.",
            )
        manifest = BundleManifest.from_json((folder / MANIFEST).read_bytes(), folder / MANIFEST)
        if sha256_file(folder / WEIGHTS) != manifest.files.get(WEIGHTS):
            raise BundleError(
                f"{folder / WEIGHTS} does not match its checksum.",
                reason="BUNDLE_DAMAGED",
                remedy="Train the head again.",
            )
        shape = FieldShape(**{f.name: manifest.settings[f.name] for f in _fields()})
        tensors = load_file(checked(folder / WEIGHTS))
        space = DrivingSpace.from_state(_under(tensors, "space."))
        n_expression = len(space.expressions.scale) + len(space.irises.scale)
        box = tensors["field.low"], tensors["field.high"]
        nose = float(tensors["field.nose_tip_y"])
        field, grid = make_field(shape, *box, nose, len(space.lips.scale), n_expression)
        field.load_state_dict(_under(tensors, "field."))
        grid.load_state_dict(_under(tensors, "grid."))
        source = {k: v.numpy() for k, v in _under(tensors, "source.").items()}
        return cls(
            manifest,
            shape,
            field,
            grid,
            space,
            LipRegressor.from_state(_under(tensors, "regressor.")),
            tensors["K"].numpy(),
            SourceTracks(**source),
        )


def make_field(
    shape: FieldShape, low: Tensor, high: Tensor, nose_tip_y: float, n_lip: int, n_expression: int
) -> tuple[HeadField, OccupancyGrid]:
    """An untrained field and its occupancy over the box from ``low`` to ``high``, mm."""
    encoding = TriplaneHash(shape.levels, shape.coarsest, shape.finest, shape.log2_table)
    field = HeadField(encoding, low, high, nose_tip_y, n_lip, n_expression)
    return field, OccupancyGrid(low.clone(), high.clone(), shape.grid)


def _fields() -> tuple[dataclasses.Field[object], ...]:
    return dataclasses.fields(FieldShape)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
