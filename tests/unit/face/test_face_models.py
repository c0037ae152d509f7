"""The canonical face and the adapters of other 3D face models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from synctalk.errors import InputError
from synctalk.face import FaceTrack, load_canonical_face, topology
from synctalk.face.canonical import Region
from synctalk.face.face_models import canonical_model, load_bfm, load_ict
from synctalk.face.ibug import landmarks68_of_mesh
from synctalk.face.normalise import remove_pose

from .clips import Truth


def test_the_canonical_face_is_symmetric_and_90_mm_wide_at_the_eyes() -> None:
    face = load_canonical_face()
    assert face.vertices.shape == (468, 3)
    mirrored = face.vertices[face.mirror] * np.array([-1, 1, 1])
    assert np.allclose(mirrored, face.vertices, atol=1e-3)
    assert np.array_equal(face.mirror[face.mirror], np.arange(468))
    right, left = face.vertices[list(topology.OUTER_EYE_CORNERS)]
    assert np.linalg.norm(left - right) == pytest.approx(90, abs=1e-3)
    assert left[0] > 0  # x points to the subject's left
    assert face.vertices[topology.NOSE_TIP, 2] == face.vertices[:, 2].max()
    assert face.vertices[topology.CHIN, 1] < -90


def test_canonical_triangles_face_outwards_and_cover_the_mesh() -> None:
    face = load_canonical_face()
    a, b, c = (face.vertices[face.triangles[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 2] >= 0).all()
    assert len(np.unique(face.triangles)) == 468
    edges = np.sort(face.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert uses.max() == 2


def test_canonical_shape_matches_the_truth_it_was_measured_on(shared_data: Path) -> None:
    with np.load(shared_data / "virtual/subject_a/truth.npz", allow_pickle=False) as data:
        true = data["lm3d_neutral"]
    ours = landmarks68_of_mesh(load_canonical_face().vertices[None])[0]
    scale = 90 / np.linalg.norm(true[45] - true[36])
    error = np.linalg.norm(ours - true * scale, axis=1)
    assert error[27:48].mean() < 4  # nose and eyes, mm
    assert error[17:].mean() < 5


def test_semantic_weights_are_low_where_faces_move() -> None:
    face = load_canonical_face()
    weight = face.rigid_weight
    assert weight.min() >= 0
    assert weight.max() <= 1
    assert weight[topology.NOSE_TIP] == 1
    for moving in (topology.LIPS_REGION, topology.RIGHT_BROW, topology.LEFT_BROW, (152,)):
        assert weight[list(moving)].max() < 0.3
    assert face.regions[topology.CHIN] == Region.JAW
    assert face.regions[10] == Region.FOREHEAD


def test_removing_pose_leaves_rigid_points_still(
    virtual_track: FaceTrack, virtual_truth: Truth
) -> None:
    assert virtual_track.mesh is not None
    still = remove_pose(virtual_track.mesh)
    rigid = still[:, [168, 6, 197, 133, 362], :2]
    assert rigid.std(axis=0).max() < 1.2  # mm, while the head turns by degrees and moves by cm
    assert np.ptp(virtual_truth.landmarks[:, 27], axis=0).max() > 10


def test_the_canonical_model_has_a_vertex_for_every_mesh_point() -> None:
    model = canonical_model()
    assert model.layout == "mesh468"
    assert np.array_equal(model.landmarks, np.arange(468))
    assert model.identity.shape == (0, 468, 3)


def test_ict_facekit_lands_in_our_head_frame(shared_data: Path) -> None:
    folder = shared_data / "weights" / "facemodel"
    indices = json.loads((folder / "ict_vertex_indices.json").read_text())
    landmarks = np.array(indices["idx_to_landmark_verts"])
    model = load_ict(folder / "ict_facekit_fp16.npz", landmarks)
    assert model.identity.shape == (100, *model.mean.shape)
    assert model.expression.shape == (57, *model.mean.shape)
    points = model.mean[model.landmarks]
    ours = landmarks68_of_mesh(load_canonical_face().vertices[None])[0]
    assert np.linalg.norm(points - ours, axis=1)[17:].mean() < 8  # another person, the same frame
    assert points[45, 0] > points[36, 0]
    assert points[30, 2] > points[27, 2]


def _write_bfm(path: Path, vertices: int = 90) -> np.ndarray:
    rng = np.random.default_rng(1)
    mean = rng.normal(size=(vertices, 3)) * 1e4
    fields = {
        "shapeMU": mean.reshape(-1, 1),
        "shapePC": rng.normal(size=(3 * vertices, 4)),
        "shapeEV": np.array([[3.0], [2.0], [1.0], [0.5]]),
        "tl": rng.integers(1, vertices + 1, (20, 3)),
    }
    if path.suffix == ".mat":
        savemat(path, fields)
    else:
        np.savez(path, **fields)
    return mean


@pytest.mark.parametrize("name", ["01_MorphableModel.mat", "bfm.npz"])
def test_a_basel_face_model_is_read_and_scaled(tmp_path: Path, name: str) -> None:
    mean = _write_bfm(tmp_path / name)
    model = load_bfm(tmp_path / name, np.arange(68))
    right, left = model.mean[36], model.mean[45]
    assert np.linalg.norm(left - right) == pytest.approx(90, rel=1e-5)
    scale = 90 / np.linalg.norm(mean[45] - mean[36])
    difference = model.mean[10] - model.mean[20]
    assert np.allclose(difference, (mean[10] - mean[20]) * scale, rtol=1e-4)
    assert model.identity.shape == (4, 90, 3)
    assert model.expression.shape == (0, 90, 3)
    assert model.triangles.min() >= 0


def test_a_model_without_its_fields_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bfm.npz"
    np.savez(path, shapeMU=np.zeros((9, 1)))
    with pytest.raises(InputError, match="shapePC"):
        load_bfm(path, np.arange(68))


def test_landmarks_of_another_model_are_refused(tmp_path: Path) -> None:
    _write_bfm(tmp_path / "bfm.npz")
    with pytest.raises(InputError) as caught:
        load_bfm(tmp_path / "bfm.npz", np.arange(68) + 1000)
    assert caught.value.reason == "FACE_MODEL_FIELD"
