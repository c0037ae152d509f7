"""Footage in which the face is hidden for a while: nothing of that is ever shown."""

from __future__ import annotations

import dataclasses
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tiny

from services.renderer.cache import Size
from services.renderer.lips import SegmentFeatures
from services.renderer.loading import LoadedAvatar
from services.renderer.segment import segment_frames
from synctalk import dub, train
from synctalk.avatar import Avatar
from synctalk.bundle import SOURCE
from synctalk.dataset import FPS, FRAMES, TRACKS, SubjectDataset
from synctalk.face_sync import LAYOUT
from synctalk.live import FootageCache
from synctalk.media import VideoPreset, VideoReader, VideoWriter, Yuv420, write_wav, yuv_to_rgb

LOST = range(110, 150)
PLAYED = range(150, 300)
AUDIO_S = 5  # from the clip's start on this would reach the lost frames
GREEN = np.array([0, 255, 0], np.uint8)


@pytest.fixture(scope="module")
def avatar(tiny_subject: tiny.TinySubject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learnt from the small subject's footage, which turns green where its face is lost."""
    folder = tmp_path_factory.mktemp("lost")
    shutil.copytree(tiny_subject.dataset, folder / "dataset")
    dataset = SubjectDataset.open(folder / "dataset")
    _hide(dataset)
    config = dataclasses.replace(tiny.CONFIG, steps=20)
    return train(folder / "dataset", folder / "avatar", config=config).path


def _hide(dataset: SubjectDataset) -> None:
    facts, tracks = dataset.manifest, dataset.tracks
    size = facts.source_width, facts.source_height
    frames = list(VideoReader(dataset.path / FRAMES))
    (dataset.path / FRAMES).unlink()  # it may be a link
    with VideoWriter(dataset.path / FRAMES, *size, FPS, preset=VideoPreset.LOSSLESS) as writer:
        for index, frame in enumerate(frames):
            writer.write(np.broadcast_to(GREEN, frame.shape).copy() if index in LOST else frame)
    for array in (tracks.mesh, tracks.landmarks68, tracks.score, tracks.valid):
        array[LOST.start : LOST.stop] = 0  # as the tracker leaves them
    tracks.save(dataset.path / TRACKS)


def test_the_avatar_knows_which_frames_it_can_play(avatar: Path) -> None:
    manifest = Avatar.load(avatar).manifest
    assert manifest.lost == tuple(LOST)
    assert manifest.played == PLAYED


def is_hidden(frame: np.ndarray) -> bool:
    return bool(frame[..., 1].mean() > frame[..., 0].mean() + 100)


@pytest.mark.parametrize("portrait", [True, False])
def test_a_dub_shows_none_of_what_hides_the_face(
    avatar: Path, tmp_path: Path, portrait: bool
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, AUDIO_S * 16_000).astype(np.float32)
    write_wav(tmp_path / "noise.wav", noise, 16_000)
    made = dub(
        avatar, tmp_path / "noise.wav", tmp_path / "dub.mp4", portrait=portrait, expression="source"
    )
    shown = [is_hidden(frame) for frame in VideoReader(made.path)]
    assert len(shown) == AUDIO_S * FPS
    assert not any(shown)
    hidden = [is_hidden(frame) for frame in VideoReader(avatar / SOURCE)]
    assert np.flatnonzero(hidden).tolist() == list(LOST)  # what was looked for can be seen


def test_segments_and_live_sessions_play_what_dubs_play(avatar: Path) -> None:
    person = Avatar.load(avatar)
    rows = np.zeros((8, LAYOUT.dim), np.float32)
    first = 2 * (len(PLAYED) - 1) - 2  # over the turn beside the lost frames
    segment = SegmentFeatures(first, rows, np.zeros((40, LAYOUT.dim), np.float32), rows[:4])
    loaded = LoadedAvatar(person, avatar, Size(), 0)
    pictures: list[Yuv420] = list(segment_frames(loaded, segment))
    assert not any(is_hidden(yuv_to_rgb(picture)) for picture in pictures)
    walk = FootageCache(1).walk(person, first)
    numbers = [still.number for still in islice(walk, 8)]
    walk.close()
    assert numbers == [152, 151, 150, 151, 152, 153, 154, 155]
