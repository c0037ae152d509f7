"""Settings of the expression service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.common.settings import ServiceSettings


class ExpressionSettings(ServiceSettings):
    """What the expression service needs beside what all services need."""

    expression_max_streams: int = Field(
        64, ge=1, description="streams served at once; more are told to try again"
    )
    expression_max_audio_s: float = Field(
        14_400, gt=0, description="longest audio of one stream, seconds"
    )
    expression_spool: Path | None = Field(
        None, description="folder for whole recordings while they are measured; the system's /tmp"
    )
