"""Other people's 3D faces in the vertices of ours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from scipy.spatial import cKDTree

from synctalk.errors import InputError
from synctalk.face import load_canonical_face
from synctalk.face.face_models import canonical_model, load_face_model
from synctalk.face.ibug import landmarks68_of_mesh
from synctalk.face.remesh import remesh

Float = np.ndarray


def another_person(vertices: Float) -> Float:
    """A wider face with a longer chin, a rounder forehead and a bigger nose."""
    x, y, z = vertices.T.astype(np.float64)
    nose = np.exp(-(x**2 + (y + 30) ** 2) / 2 / 15**2)
    chin = np.clip((-40 - y) / 60, 0, 1)
    forehead = 6 * np.exp(-(x**2 + (y - 40) ** 2) / 2 / 30**2)
    return np.stack([1.12 * x, y - 25 * chin, z + 7 * nose + forehead], axis=1)


def subdivided(vertices: Float, triangles: Float) -> tuple[Float, Float]:
    """Each triangle cut into four."""
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = (inverse.reshape(-1, 3) + len(vertices)).T
    a, b, c = triangles.T
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    pieces = np.concatenate([np.stack(part, axis=1) for part in parts])
    return np.concatenate([vertices, vertices[unique].mean(1)]), pieces


def write_bfm(path: Path, *, flipped: bool = False) -> Float:
    """A face in the Basel format (micrometres, elsewhere in space); its own 468 points, mm."""
    face = load_canonical_face()
    own = another_person(face.vertices)
    vertices, triangles = subdivided(own, face.triangles.astype(np.int64))
    landmarks = landmarks68_of_mesh(own[None].astype(np.float32))[0]
    everything = np.concatenate([vertices, landmarks]) * 1000 + [3e4, -2e4, 1e4]
    fields = {
        "shapeMU": everything.reshape(-1, 1),
        "shapePC": np.zeros((everything.size, 2)),
        "shapeEV": np.ones((2, 1)),
        "tl": (triangles[:, ::-1] if flipped else triangles) + 1,
    }
    savemat(path, fields) if path.suffix == ".mat" else np.savez(path, **fields)
    numbers = [len(vertices) + k for k in range(68)]
    path.with_suffix(".landmarks.json").write_text(json.dumps(numbers))
    return own


def in_head_frame(own: Float) -> Float:
    """As the loader places a model: outer eye corners 90 mm apart, where the canonical's are."""
    right, left = (landmarks68_of_mesh(own[None].astype(np.float32))[0][[36, 45]]).astype(float)
    depth = load_canonical_face().vertices[33, 2]
    return (own - (left + right) / 2) * (90 / np.linalg.norm(left - right)) + [0, 0, depth]


@pytest.mark.parametrize(("name", "flipped"), [("01_MorphableModel.mat", False), ("b.npz", True)])
def test_a_basel_file_becomes_its_own_face_in_our_mesh(
    tmp_path: Path, name: str, flipped: bool
) -> None:
    true = in_head_frame(write_bfm(tmp_path / name, flipped=flipped))
    face = remesh(load_face_model(tmp_path / name))
    canonical = load_canonical_face()
    start = np.linalg.norm(canonical.vertices - true, axis=1)
    error = np.linalg.norm(face.vertices - true, axis=1)
    assert start.mean() > 3
    assert error.mean() < 0.3 * start.mean()
    assert np.median(error) < 0.6
    assert np.array_equal(face.triangles, canonical.triangles)
    assert np.array_equal(face.rigid_weight, canonical.rigid_weight)


def test_ict_facekit_is_laid_on_its_own_surface(ict_file: Path) -> None:
    model = load_face_model(ict_file)
    face = remesh(model)
    seen = landmarks68_of_mesh(face.vertices[None])[0]
    off = np.linalg.norm(seen - model.mean[model.landmarks], axis=1)
    assert off[17:].mean() < 1.0  # mm
    away = cKDTree(model.mean).query(face.vertices)[0]
    assert np.percentile(away, 90) < 2.5  # its vertices are about 2 mm apart
    a, b, c = (face.vertices[face.triangles[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 2] >= 0).all(), "folded triangles"


def test_triangles_among_quads_do_not_reach_for_the_last_vertex(ict_file: Path) -> None:
    model = load_face_model(ict_file)
    corners = model.mean[model.triangles]
    edges = np.linalg.norm(corners - corners[:, [1, 2, 0]], axis=2)
    assert edges.max() < 60  # mm; from the teeth to the last vertex it is further


def test_our_own_model_stays_as_it_is() -> None:
    assert np.array_equal(remesh(canonical_model()).vertices, load_canonical_face().vertices)


def test_a_model_in_our_layout_keeps_its_shape() -> None:
    model = replace(canonical_model(), mean=load_canonical_face().vertices * np.float32(1.1))
    assert np.array_equal(remesh(model).vertices, model.mean)


def refused(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        load_face_model(path)
    assert str(path.parent) in caught.value.message
    assert caught.value.remedy
    return caught.value


def test_a_model_without_landmarks_says_which_file_is_wanted(tmp_path: Path) -> None:
    write_bfm(tmp_path / "mine.npz")
    (tmp_path / "mine.landmarks.json").unlink()
    error = refused(tmp_path / "mine.npz")
    assert error.reason == "FACE_MODEL_LANDMARKS"
    assert "mine.landmarks.json" in error.message


def test_landmarks_that_are_no_list_of_numbers_are_refused(tmp_path: Path) -> None:
    write_bfm(tmp_path / "mine.npz")
    (tmp_path / "mine.landmarks.json").write_text('{"points": []}')
    assert refused(tmp_path / "mine.npz").reason == "FACE_MODEL_LANDMARKS"


@pytest.mark.parametrize("name", ["gone.mat", "notes.mat", "notes.npz", "pickled.npz", "odd.npz"])
def test_files_that_are_no_face_model_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("notes"):
        path.write_text("no model at all\n" * 20)
    elif name == "pickled.npz":
        np.savez(path, neutral=np.array([{"an": "object"}], object))
    elif name == "odd.npz":
        np.savez(path, picture=np.zeros(3))
    reasons = {"gone.mat": "FACE_MODEL_MISSING", "odd.npz": "FACE_MODEL_UNKNOWN"}
    assert refused(path).reason == reasons.get(name, "FACE_MODEL_UNREADABLE")


def test_a_basis_of_another_size_is_refused(tmp_path: Path) -> None:
    write_bfm(tmp_path / "mine.npz")
    with np.load(tmp_path / "mine.npz") as data:
        fields = dict(data)
    fields["shapePC"] = fields["shapePC"][:-3]
    np.savez(tmp_path / "mine.npz", **fields)
    assert refused(tmp_path / "mine.npz").reason == "FACE_MODEL_FIELD"
