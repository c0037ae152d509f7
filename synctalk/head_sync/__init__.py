"""Head-Sync Stabilizer: steady head poses from landmarks, tracked points and pixels."""

from __future__ import annotations

from synctalk.head_sync.bundle import BundleConfig
from synctalk.head_sync.motion import MotionConfig
from synctalk.head_sync.photometric import PhotometricConfig
from synctalk.head_sync.points import PointsConfig
from synctalk.head_sync.report import HeadSyncReport, StepReport
from synctalk.head_sync.stabilizer import HeadSyncConfig, HeadTrack, stabilize
from synctalk.head_sync.surface import FaceModel

__all__ = [
    "BundleConfig",
    "FaceModel",
    "HeadSyncConfig",
    "HeadSyncReport",
    "HeadTrack",
    "MotionConfig",
    "PhotometricConfig",
    "PointsConfig",
    "StepReport",
    "stabilize",
]
