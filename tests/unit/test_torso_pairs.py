"""What the torso restorer takes out, learns from, and lays in."""

from __future__ import annotations

import dataclasses

import artifacts
import cv2
import numpy as np

from synctalk.dataset import Tracks
from synctalk.face.topology import CHIN, FACE_OVAL
from synctalk.training.inpainter import Inpainter
from synctalk.training.neck import NeckView, neck_window
from synctalk.training.torso import REACH, restored

HEIGHT, WIDTH = 96, 128
JAW_Y, NECK = 48, slice(32, 96)


def view() -> NeckView:
    """A face ends at row 48, a neck goes on below it; background at both sides."""
    picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    picture[:, NECK] = (180, 140, 120)
    face = np.zeros((HEIGHT, WIDTH), bool)
    face[:JAW_Y, 24:104] = True
    body = np.zeros_like(face)
    body[JAW_Y:, NECK] = True
    covers = np.zeros(face.shape, np.float32)
    covers[20:, NECK] = 1  # the plate's neck goes on behind the face
    return NeckView(0, picture, picture, face, body, face, covers, (0.0, 1.0))


def test_the_hole_reaches_as_far_as_told_and_only_into_the_body() -> None:
    for reach in (3, 9):
        hole = view().hole(reach)
        assert hole[20 : JAW_Y + reach - 1, NECK].all()
        assert not hole[JAW_Y + reach :].any()
        assert not hole[:, : NECK.start].any()


def test_a_dropped_jaw_takes_the_hole_down_with_it() -> None:
    hole = view().hole(5, drop=20)
    assert hole[JAW_Y : JAW_Y + 24, NECK].all()
    assert not hole[JAW_Y + 26 :].any()


def test_what_is_hidden_is_restored_and_the_source_comes_back_softly() -> None:
    seen = view()
    picture, weight = restored(seen, seen.hole(REACH), None, Inpainter(), 1.0)
    assert (weight[24 : JAW_Y + 1, 37:91] == 255).all()
    beside = weight[JAW_Y, NECK.start : 64].astype(int)  # at the background the source comes back
    assert beside[0] == 0
    assert (np.diff(beside) >= 0).all()
    rim = weight[JAW_Y : JAW_Y + int(REACH) + 2, 64].astype(int)
    assert rim[-1] == 0
    assert (np.diff(rim) <= 0).all()
    assert np.diff(rim).min() > -200
    assert (weight[:, : NECK.start] == 0).all()
    assert np.abs(picture[JAW_Y - 4, 64].astype(int) - (180, 140, 120)).max() <= 3


def talking(size: int = 256) -> Tracks:
    """A face that nods and opens its mouth."""
    tracks = artifacts.tracks()
    mesh = np.zeros_like(tracks.mesh)
    angle = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
    nod = 10 * np.sin(np.arange(artifacts.N))[:, None]
    mesh[:, list(FACE_OVAL), 0] = 128 + 50 * np.sin(angle)
    mesh[:, list(FACE_OVAL), 1] = 110 - 70 * np.cos(angle) + nod
    mesh[:, 13, 1] = 140
    mesh[:, 14, 1] = 140 + 12 * (np.arange(artifacts.N) % 3)
    return dataclasses.replace(tracks, mesh=mesh)


def test_the_window_holds_the_jaw_and_what_is_below_it() -> None:
    tracks, size = talking(), 256
    window = neck_window(tracks, range(artifacts.N), size)
    left, top = window.corners.T
    assert window.width % 16 == window.height % 16 == 0
    assert not (window.corners % 2).any()
    assert (window.corners >= 0).all()
    assert (left + window.width <= size).all()
    chin = tracks.mesh[:, CHIN, :2]
    assert (top + window.height - chin[:, 1] > 24).all()
    for jaw in (58, 288):
        inside = tracks.mesh[:, jaw, :2] - window.corners
        assert (inside > 0).all()
        assert (inside < (window.width, window.height)).all()


def test_a_jaw_turned_sideways_drops_along_the_head() -> None:
    tilted = dataclasses.replace(view(), down=(1.0, 0.0))
    face = np.zeros((HEIGHT, WIDTH), bool)
    face[:JAW_Y, 24:60] = True
    tilted = dataclasses.replace(tilted, face=face, covers=np.zeros_like(tilted.covers))
    grown = tilted.hole(2, drop=16) & ~tilted.hole(2)
    columns = np.nonzero(grown)[1]
    assert columns.min() >= 60
    assert cv2.countNonZero(grown.astype(np.uint8)) > 0
