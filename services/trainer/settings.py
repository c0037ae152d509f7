"""Settings of trainer: of the service and of its workers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pydantic import Field

from services.common.jobs import JobSettings
from services.common.settings import ServiceSettings


class TrainerSettings(ServiceSettings):
    """What trainer needs beside what all services need."""

    jobs: JobSettings = Field(default_factory=JobSettings, description="how job queues behave")
    work_dir: Path = Field(
        Path(tempfile.gettempdir()) / "avatar-work",
        description="folder of a worker on its own disk; may be emptied while none runs",
    )
    trainer_checkpoint_s: float = Field(
        30, gt=0, le=60, description="work between two checkpoints, which a killed worker repeats"
    )
    trainer_dataset_keep_s: float = Field(
        86_400, ge=0, description="how long an unused dataset stays on a worker's disk"
    )
    trainer_steps: int | None = Field(
        None,
        ge=1,
        description="training steps of every job instead of its preset's; a few hundred try an "
        "installation out fast, for less quality",
    )
