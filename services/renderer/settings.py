"""Settings of the renderer."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pydantic import Field

from services.common.provenance import ProvenanceSettings
from services.common.settings import ServiceSettings


class RendererSettings(ServiceSettings):
    """What the renderer needs beside what all services need."""

    renderer_max_segments: int = Field(
        2, ge=1, description="segments rendered at once; more wait. One blends while one rasterises"
    )
    renderer_cache_bytes: int = Field(
        2 << 30, gt=0, description="memory that loaded avatars may take; idle ones make room"
    )
    renderer_cache_disk_bytes: int = Field(
        20 << 30, gt=0, description="disk that the footage of loaded avatars may take"
    )
    renderer_max_sessions: int = Field(
        4, ge=0, description="live sessions at once; more are refused. Two cores hold about two"
    )
    renderer_max_late_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of live frames after their time beyond which sessions are refused",
    )
    renderer_footage_bytes: int = Field(
        512 << 20, gt=0,
        description="memory that decoded footage of live avatars may take; each session holds up "
        "to 50 frames of its own beside it",
    )  # fmt: skip
    renderer_min_replicas: int = Field(
        1, ge=1, description="replicas that run at least, where Ray Serve runs on this machine"
    )
    renderer_max_replicas: int = Field(
        2, ge=1, description="replicas that run at most, where Ray Serve runs on this machine"
    )
    work_dir: Path = Field(
        Path(tempfile.gettempdir()) / "avatar-work",
        description="folder of that footage; replicas on one machine may share it",
    )
    provenance: ProvenanceSettings = Field(
        default_factory=ProvenanceSettings, description="how video is marked and signed"
    )
    renderer_device: str = Field("auto", pattern="^(auto|cpu|cuda)$", description="where to render")
