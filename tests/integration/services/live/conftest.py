"""Two renderers and an avatar for all tests of live rendering."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from live_client import (
    SPEECH,
    Rows,
    speech_rows,
)
from live_renderers import N_FRAMES, Stage
from suite import Suite
from tiny import TinySubject

from services.common.artifacts import upload_folder
from services.common.local import LocalServers
from services.common.storage import ObjectStore
from services.renderer.cache import Size
from services.renderer.lips import SegmentFeatures
from services.renderer.loading import LoadedAvatar
from services.renderer.segment import segment_frames
from synctalk.avatar import Avatar
from synctalk.expression import ProsodicExpression, measure_prosody
from synctalk.media import Yuv420, read_audio


@pytest.fixture(scope="session")
def stage(
    local_servers: LocalServers,
    object_store: ObjectStore,
    tiny_subject: TinySubject,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("live")
    suite = Suite(local_servers, folder)
    prefix = "tenants/acme/avatars/ann/bundles/live"
    bundle = upload_folder(object_store, tiny_subject.avatar, prefix)
    avatar = LoadedAvatar(Avatar.load(tiny_subject.avatar), tiny_subject.avatar, Size(), 0)
    settings = {"WORK_DIR": str(folder / "work"), "RENDERER_MAX_SESSIONS": "2"}
    settings["RENDERER_MAX_LATE_SHARE"] = "1"  # the machine that tests may be slow
    try:
        first = suite.start("services.renderer", **settings)
        second = suite.start("services.renderer", **settings)
        yield Stage(suite, (first, second), bundle, avatar)
    finally:
        suite.stop()


@pytest.fixture(scope="session")
def rows() -> Rows:
    return speech_rows(N_FRAMES)


@pytest.fixture(scope="session")
def faces() -> Rows:
    """Blinks and brows, emphatic ones."""
    wav = read_audio(SPEECH, 16_000)
    return ProsodicExpression("emphatic", 30).generate(measure_prosody(wav, N_FRAMES))


@pytest.fixture(scope="session")
def pictures(stage: Stage, rows: Rows) -> list[Yuv420]:
    """What a segment of all frames shows."""
    none = rows[:0]
    return list(segment_frames(stage.avatar, SegmentFeatures(0, rows, none, none)))
