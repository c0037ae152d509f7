"""The alignment's kernel against its NumPy reference, on a textured head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from synctalk.face import load_canonical_face
from synctalk.head_sync import alignment, reference
from synctalk.head_sync.alignment import Appearance, FramePose, System
from synctalk.head_sync.geometry import Float, exp_so3, log_so3
from synctalk.head_sync.keyframes import Camera
from synctalk.head_sync.photometric import FULL, SHORT
from synctalk.head_sync.pyramid import Pyramid
from synctalk.head_sync.surface import head_surface, sample_surface, with_outline

CAMERA = Camera(np.array([[900.0, 0, 256], [0, 900.0, 256], [0, 0, 1]]), (512, 512), 0)
FRONTAL = FramePose(np.diag([1.0, -1.0, -1.0]), np.array([4.0, -9.0, 800.0]))
ALL = ("J", "residual", "weights", "sigma", "camera")


@dataclass(frozen=True)
class Scene:
    """A head, and a frame in which it is seen a little aside of ``start``."""

    appearance: Appearance
    pyramid: Pyramid
    start: FramePose


def shifted(pose: FramePose, rng: np.random.Generator) -> FramePose:
    R = exp_so3(rng.normal(0, 0.01, 3)) @ pose.R
    return replace(pose, R=R, t=pose.t + rng.normal(0, 1, 3) * [1, 1, 4])


@pytest.fixture(params=[(0, 0), (1, 0), (2, 1)], ids=["whole", "another", "halved"])
def scene(request: pytest.FixtureRequest) -> Scene:
    seed, octave = request.param
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (512, 512)).astype(np.float32), (0, 0), 3)
    grey = np.clip(128 + 400 * noise, 0, 255).astype(np.uint8)
    face = load_canonical_face()
    surface = with_outline(head_surface(face.vertices.astype(np.float64), face))
    solid = sample_surface(surface, 2101, 0.25, rng)
    samples = solid.joined(sample_surface(surface, 900, 0.25, rng, outline=True))
    samples = samples.take(rng.permutation(len(samples)))
    truth = shifted(FRONTAL, rng)
    pyramid = replace(CAMERA, octave=octave).pyramid(grey, truth, surface.vertices)
    points, outline = samples.interpolate(surface.vertices), samples.on_outline(surface)
    X = alignment.camera_points(points, outline, truth)
    x, y = (CAMERA.K[0, 0] * X[k] / X[2] + CAMERA.K[k, 2] for k in range(2))
    intensity = np.stack([1.1 * pyramid.lookup(x, y, level)[0] - 2 for level in range(3)])
    intensity += rng.normal(0, 1, intensity.shape)
    normals, weights = samples.unit_normals(surface), rng.uniform(0, 1, len(samples))
    look = Appearance(points, normals, intensity, weights, outline)
    return Scene(look, pyramid, shifted(truth, rng))


def assert_alike(ours: FramePose, theirs: FramePose) -> None:
    assert np.linalg.norm(log_so3(ours.R @ theirs.R.T)) < 1e-9
    np.testing.assert_allclose(ours.t, theirs.t, atol=1e-7)
    np.testing.assert_allclose([ours.gain, ours.bias], [theirs.gain, theirs.bias], atol=1e-8)


def assert_same_system(ours: System, theirs: System) -> None:
    for name in ALL:
        a, b = getattr(ours, name), getattr(theirs, name)
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6 * np.abs(b).max(), err_msg=name)
    np.testing.assert_allclose(ours.gradient, theirs.gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("level", range(3))
def test_a_system_is_that_of_the_reference(scene: Scene, level: int) -> None:
    look = scene.appearance.seen_from(scene.start)
    arguments = (scene.pyramid, level, look, scene.start, CAMERA.K)
    assert_same_system(alignment.linearise(*arguments), reference.linearise(*arguments))


@pytest.mark.parametrize("schedule", [FULL, SHORT, ((0, 1),)])
def test_a_frame_is_aligned_as_by_the_reference(
    scene: Scene, schedule: tuple[tuple[int, int], ...]
) -> None:
    arguments = (scene.pyramid, scene.appearance, scene.start, CAMERA.K, schedule)
    (ours, system), (theirs, expected) = alignment.align(*arguments), reference.align(*arguments)
    assert_alike(ours, theirs)
    assert_same_system(system, expected)


def test_exposure_is_fitted_as_by_the_reference(scene: Scene) -> None:
    look = scene.appearance.seen_from(scene.start)
    pose, system = alignment.fit_exposure(scene.pyramid, 0, look, scene.start, CAMERA.K)
    expected = reference.fit_exposure(scene.pyramid, 0, look, scene.start, CAMERA.K)
    assert_alike(pose, expected)
    np.testing.assert_array_equal(pose.R, scene.start.R)
    at_it = reference.linearise(scene.pyramid, 0, look, expected, CAMERA.K)
    assert_same_system(system, at_it)


def few(look: Appearance) -> Appearance:
    return reference.first(look, 65)


def one_kind(edge: bool) -> Callable[[Appearance], Appearance]:
    return lambda look: replace(look, weights=look.weights * (look.outline == edge))


def beyond_the_frame(look: Appearance) -> Appearance:
    return replace(look, points=look.points + np.array([150.0, 0, 0]))


@pytest.mark.parametrize("odd", [few, one_kind(True), one_kind(False), beyond_the_frame])
def test_odd_heads_are_no_exception(scene: Scene, odd: Callable[[Appearance], Appearance]) -> None:
    look = odd(scene.appearance).seen_from(scene.start)
    arguments = (scene.pyramid, 0, look, scene.start, CAMERA.K)
    assert_same_system(alignment.linearise(*arguments), reference.linearise(*arguments))


def test_a_head_of_which_nothing_is_seen_stays_where_it_was(scene: Scene) -> None:
    hidden = replace(scene.appearance, weights=np.zeros(len(scene.appearance.points)))
    pose, system = alignment.align(scene.pyramid, hidden, scene.start, CAMERA.K, FULL)
    np.testing.assert_allclose(pose.R, scene.start.R, atol=1e-12)
    np.testing.assert_allclose(pose.t, scene.start.t)
    assert system.sigma == pytest.approx(reference.MIN_SIGMA)


def test_arrays_that_do_not_fit_are_refused(scene: Scene) -> None:
    torn: Float = scene.appearance.intensity[:2]
    look = replace(scene.appearance, intensity=torn)
    with pytest.raises(ValueError, match="intensity"):
        alignment.align(scene.pyramid, look, scene.start, CAMERA.K, FULL)
    with pytest.raises(ValueError, match="level"):
        alignment.align(scene.pyramid, scene.appearance, scene.start, CAMERA.K, ((3, 1),))
