"""Settings of preprocess: of the service and of its workers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pydantic import Field

from services.common.jobs import JobSettings
from services.common.provenance import ProvenanceSettings
from services.common.settings import ServiceSettings


class PreprocessSettings(ServiceSettings):
    """What preprocess needs beside what all services need."""

    jobs: JobSettings = Field(default_factory=JobSettings, description="how job queues behave")
    provenance: ProvenanceSettings = Field(
        default_factory=ProvenanceSettings,
        description="whose marks and signatures count, when the service verifies a file",
    )
    work_dir: Path = Field(
        Path(tempfile.gettempdir()) / "avatar-work",
        description="folder of a worker on its own disk; may be emptied while none runs",
    )
    preprocess_keep_s: float = Field(
        3600, ge=0, description="how long unfinished work stays on a worker's disk to be resumed"
    )
