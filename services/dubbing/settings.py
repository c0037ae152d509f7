"""Settings of the dubbing worker."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pydantic import Field

from services.common.jobs import JobSettings
from services.common.provenance import ProvenanceSettings
from services.common.settings import ServiceSettings


class DubbingSettings(ServiceSettings):
    """What the dubbing worker needs beside what all services need."""

    expression_target: str = Field(description="ExpressionService, host:port or dns:///host:port")
    renderer_targets: tuple[str, ...] = Field(
        min_length=1,
        description="RendererService: a JSON list of host:port, or of dns:///host:port, which "
        "stands for every address of that name",
    )
    jobs: JobSettings = Field(default_factory=JobSettings, description="how job queues behave")
    dubbing_segment_frames: int = Field(
        148, ge=48, le=740, multiple_of=4, description="frames of a segment, about"
    )
    dubbing_segments_per_replica: int = Field(
        2, ge=1, description="segments that one renderer is given at once by one dub"
    )
    dubbing_segment_attempts: int = Field(
        6, ge=1, description="failures of one segment after which the attempt has failed"
    )
    dubbing_segment_timeout_s: float = Field(
        300, gt=0, description="time that a renderer has for a segment, waiting included"
    )
    dubbing_max_audio_s: float = Field(7_200, gt=0, description="longest audio, seconds")
    provenance: ProvenanceSettings = Field(
        default_factory=ProvenanceSettings, description="how video is marked and signed"
    )
    work_dir: Path = Field(
        Path(tempfile.gettempdir()) / "avatar-work",
        description="folder for sound, features and the video of the running dub",
    )
