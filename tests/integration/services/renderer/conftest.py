"""A renderer with an avatar for all tests of segments."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from segment_requests import (
    N_FRAMES,
    SPEECH,
    Features,
    Stage,
)
from suite import Suite
from tiny import TinySubject

from services.common.artifacts import upload_folder
from services.common.local import LocalServers
from services.common.storage import ObjectStore
from services.renderer.cache import Size
from services.renderer.loading import LoadedAvatar
from synctalk.avatar import Avatar
from synctalk.face_sync import AudioVisualEncoder
from synctalk.media import read_audio


@pytest.fixture(scope="session")
def stage(
    local_servers: LocalServers,
    object_store: ObjectStore,
    tiny_subject: TinySubject,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("renderer")
    suite = Suite(local_servers, folder)
    bundle = upload_folder(
        object_store, tiny_subject.avatar, "tenants/acme/avatars/ann/bundles/renderer"
    )
    avatar = LoadedAvatar(Avatar.load(tiny_subject.avatar), tiny_subject.avatar, Size(), 0)
    try:
        renderer = suite.start("services.renderer", WORK_DIR=str(folder / "work"))
        yield Stage(renderer, object_store, bundle, avatar)
    finally:
        suite.stop()


@pytest.fixture(scope="session")
def features() -> Features:
    wav = torch.from_numpy(read_audio(SPEECH, 16_000))
    rows: Features = AudioVisualEncoder.pretrained().encode(wav, N_FRAMES).numpy()
    return rows
