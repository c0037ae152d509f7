"""What a dataset says about its subject before any Gaussian is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.dataset import SubjectDataset, Tracks
from synctalk.face import ARKIT_NAMES, load_canonical_face
from synctalk.face_sync import EYE_POINTS, INNER_LIP, LIP_POINTS, DrivingSpace, fit_driving_space
from synctalk.gaussians.basis import DrivingCoefficients
from synctalk.gaussians.initialise import HeadGeometry
from synctalk.training.config import Capturer


@dataclass(frozen=True)
class Subject:
    """Driving space and coefficients of a dataset.

    Args:
        space: fitted on the training frames alone.
        driving: coefficients of all T frames, from the tracked face.
        viewmats: [T,4,4] head to camera, mm.
        mouth_opening: [T] mm.
        blink: [T] mean of both eyes, [0,1].
        usable: [T] bool: tracked, so fit to learn from.
        geometry: the face mesh to seed from.
    """

    space: DrivingSpace
    driving: DrivingCoefficients
    viewmats: Tensor
    mouth_opening: NDArray[np.float32]
    blink: NDArray[np.float32]
    usable: NDArray[np.bool_]
    geometry: HeadGeometry


def driving_coefficients(space: DrivingSpace, tracks: Tracks) -> DrivingCoefficients:
    """Coefficients [T,·] of tracked faces."""
    mesh, R, t, K = (torch.from_numpy(a) for a in (tracks.mesh, tracks.R, tracks.t, tracks.K))
    return DrivingCoefficients(
        lip=space.lip(mesh, R, t, K),
        expression=space.expression(mesh, R, t, K),
        pose=space.pose(R, t),
    )


def viewmats(R: NDArray[np.float32], t: NDArray[np.float32]) -> Tensor:
    """World-to-camera matrices [T,4,4]; the world is the head frame."""
    matrices = torch.eye(4).repeat(len(R), 1, 1)
    matrices[:, :3, :3] = torch.from_numpy(R)
    matrices[:, :3, 3] = torch.from_numpy(t)
    return matrices


def study(dataset: SubjectDataset, capturer: Capturer = "landmarks") -> Subject:
    """Fit the driving space on the training frames and encode all frames with it."""
    tracks = dataset.tracks
    usable = tracks.usable
    train = usable.copy()
    train[dataset.held_out_range.start :] = False
    mesh, R, t, K, vertices = (
        torch.from_numpy(a) for a in (tracks.mesh, tracks.R, tracks.t, tracks.K, tracks.vertices)
    )
    space = fit_driving_space(mesh, R, t, K, vertices, torch.from_numpy(train))
    eyes = [ARKIT_NAMES.index("eyeBlinkLeft"), ARKIT_NAMES.index("eyeBlinkRight")]
    if capturer == "blink":
        seen = (mesh[train], R[train], t[train], K)
        lids = torch.from_numpy(tracks.blendshapes[train][:, eyes].mean(1))
        space = space.blinking_alone(*seen, lids)
    driving = driving_coefficients(space, tracks)
    return Subject(
        space=space,
        driving=driving,
        viewmats=viewmats(tracks.R, tracks.t),
        mouth_opening=space.mouth_opening(driving.lip).numpy(),
        blink=tracks.blendshapes[:, eyes].mean(1),
        usable=usable,
        geometry=_geometry(tracks),
    )


def _geometry(tracks: Tracks) -> HeadGeometry:
    canonical = load_canonical_face()
    features = [i for i in (*EYE_POINTS, *LIP_POINTS) if i < len(tracks.vertices)]
    return HeadGeometry(
        vertices=tracks.vertices,
        triangles=canonical.triangles.astype(np.int64),
        feature_vertices=np.array(features),
        inner_lip=np.array(INNER_LIP),
    )
