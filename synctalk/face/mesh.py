"""The default face tracker: MediaPipe's networks, frame by frame, with no smoothing.

Per frame: landmarks in the square around the previous frame's landmarks, then again in the square
around those (so that the result does not depend on how far the head moved), then the iris network
on both eyes. Its video mode would filter over time, which shrinks lip gaps and delays motion;
nothing here looks at other frames but the first square.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from synctalk.errors import FootageError
from synctalk.face import topology
from synctalk.face.detection import Detection, FaceDetector
from synctalk.face.ibug import landmarks68_of_mesh
from synctalk.face.models import require_model
from synctalk.face.networks import Network, Roi
from synctalk.face.tracking import FaceTrack, FloatArray, Image
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

CROP = 192
EYE_CROP = 64
ROI_SCALE = 1.5
EYE_ROI_SCALE = 2.3
MIN_PRESENCE = 0.5
DETECT_EVERY = 25  # frames between looks for other faces
IN_FLIGHT = 8  # frames being refined at once: bounds memory


@dataclass(frozen=True)
class FaceMesh:
    """One frame's mesh [478, 3] px and presence score in [0, 1]."""

    points: FloatArray
    score: float


class MeshNetworks:
    """The landmark and iris networks of one thread."""

    def __init__(self) -> None:
        """Load both networks."""
        self._face = Network(require_model("face_landmark.tflite"))
        self._iris = Network(require_model("iris_landmark.tflite"))

    def landmarks(self, image: Image, roi: Roi) -> FaceMesh:
        """468 points and the presence score in ``roi``; the irises are left at zero."""
        points, flag = self._face(roi.crop(image, CROP)[None])
        mesh = np.zeros((topology.N_MESH, 3), np.float32)
        mesh[: topology.N_FACE] = roi.to_image(points.reshape(-1, 3) / np.float32(CROP))
        score = 1 / (1 + np.exp(-float(flag.reshape(-1)[0])))
        return FaceMesh(mesh, score)

    def refine_eyes(self, image: Image, mesh: FloatArray) -> FloatArray:
        """The mesh with eye contours and irises from the iris network."""
        out = mesh.copy()
        right = (topology.RIGHT_EYE, topology.RIGHT_IRIS)
        left = (topology.LEFT_EYE, topology.LEFT_IRIS)
        for (contour, iris), mirror in ((right, False), (left, True)):
            eye, ring = self._eye(image, mesh, (contour[0], contour[8]), mirror)
            # The network's depth is not the mesh's: keep the mesh's for the contour.
            out[list(contour), :2] = eye[: len(contour), :2]
            out[list(iris), :2] = ring[:, :2]
            out[list(iris), 2] = mesh[[contour[0], contour[8]], 2].mean()
        return out

    def _eye(
        self, image: Image, mesh: FloatArray, corners: tuple[int, int], mirror: bool
    ) -> tuple[FloatArray, FloatArray]:
        """71 eye points and 5 iris points of one eye, px. The network knows right eyes only."""
        outer, inner = mesh[corners[0], :2], mesh[corners[1], :2]
        span = (outer - inner) if mirror else (inner - outer)
        x, y = (outer + inner) / 2
        side = EYE_ROI_SCALE * float(np.abs(span).max())
        roi = Roi(float(x), float(y), side, float(np.arctan2(span[1], span[0])))
        crop = roi.crop(image, EYE_CROP)
        if mirror:
            crop = np.ascontiguousarray(crop[:, ::-1])
        points = np.concatenate([o.reshape(-1, 3) for o in self._iris(crop[None])]) / EYE_CROP
        if mirror:
            points[:, 0] = 1 - points[:, 0]
        moved = roi.to_image(points.astype(np.float32))
        return moved[:-5], moved[-5:]


def _square(points: FloatArray, right: FloatArray, left: FloatArray, scale: float) -> Roi:
    """The square around ``points``, turned so that the eyes are level."""
    low, high = points.min(0), points.max(0)
    x, y = (low + high) / 2
    dx, dy = left - right
    return Roi(float(x), float(y), scale * float((high - low).max()), float(np.arctan2(dy, dx)))


def roi_of_detection(detection: Detection) -> Roi:
    """Where to look for the landmarks of a detected face."""
    eyes = detection.keypoints
    return _square(detection.box.reshape(2, 2), eyes[0], eyes[1], ROI_SCALE)


def roi_of_mesh(mesh: FloatArray) -> Roi:
    """Where to look for landmarks given those of the frame before (or of the first pass)."""
    face = mesh[: topology.N_FACE, :2]
    right, left = (mesh[i, :2] for i in topology.OUTER_EYE_CORNERS)
    return _square(face, right, left, ROI_SCALE)


class MeshFaceTracker:
    """468 + 10 points a frame on the CPU, no download at run time.

    Args:
        workers: threads that refine frames while the next is located.

    Raises:
        MissingModelError: a network's file is not on this machine.
    """

    def __init__(self, workers: int = 2) -> None:
        """Load the networks of the calling thread; the workers load theirs when needed."""
        self._detector = FaceDetector()
        self._locator = MeshNetworks()
        self._workers = workers
        self._local = threading.local()

    def track(
        self,
        frames: Iterable[Image],
        *,
        cuts: Sequence[int] = (),
        progress: ProgressCallback = ignore_progress,
    ) -> FaceTrack:
        """Track the largest face; see :class:`synctalk.face.tracking.FaceTracker`."""
        total = len(frames) if isinstance(frames, Sequence) else 0
        stage = StageProgress(progress, "track", total)
        counts: list[int] = []
        size: list[tuple[int, int]] = []
        meshes: list[FaceMesh] = []
        with ThreadPoolExecutor(self._workers) as pool:
            pending: deque[Future[FaceMesh]] = deque()
            for image, start, n_faces in self._locate(frames, frozenset(cuts), size):
                counts.append(n_faces)
                pending.append(pool.submit(self._refine, image, start))
                if len(pending) >= IN_FLIGHT:
                    meshes.append(pending.popleft().result())
                stage.advance()
            meshes.extend(future.result() for future in pending)
        return _assemble(meshes, counts, size)

    def _locate(
        self, frames: Iterable[Image], cuts: frozenset[int], size: list[tuple[int, int]]
    ) -> Iterator[tuple[Image, FloatArray | None, int]]:
        """Each frame with its first-pass mesh (None: no face) and the number of faces."""
        previous: FloatArray | None = None
        n_faces = 0
        for index, frame in enumerate(frames):
            image = np.ascontiguousarray(frame)
            _check_size(image, index, size)
            if index in cuts:
                previous = None
            found = (
                self._locator.landmarks(image, roi_of_mesh(previous))
                if (previous is not None)
                else None
            )
            lost = found is None or found.score < MIN_PRESENCE
            if lost or index % DETECT_EVERY == 0:
                detections = self._detector(image)
                n_faces = len(detections)
                if lost:
                    found = self._first_present(image, detections)
            previous = found.points if found is not None else None
            yield image, previous, n_faces if previous is None else max(n_faces, 1)

    def _first_present(self, image: Image, detections: list[Detection]) -> FaceMesh | None:
        """The largest detection that the landmark network agrees is a face."""
        for detection in detections:
            found = self._locator.landmarks(image, roi_of_detection(detection))
            if found.score >= MIN_PRESENCE:
                return found
        return None

    def _refine(self, image: Image, start: FloatArray | None) -> FaceMesh:
        """The second pass and the irises, in a worker thread."""
        if start is None:
            return FaceMesh(np.zeros((topology.N_MESH, 3), np.float32), 0.0)
        if not hasattr(self._local, "networks"):
            self._local.networks = MeshNetworks()
        networks: MeshNetworks = self._local.networks
        mesh = networks.landmarks(image, roi_of_mesh(start))
        return FaceMesh(networks.refine_eyes(image, mesh.points), mesh.score)


def _check_size(image: Image, index: int, size: list[tuple[int, int]]) -> None:
    """Keep the first frame's size; every other frame must have it."""
    own = (image.shape[1], image.shape[0])
    if not size:
        size.append(own)
    if own != size[0]:
        raise FootageError(
            f"Frame {index} is {own[0]}x{own[1]} but the clip began as {size[0][0]}x{size[0][1]}.",
            reason="FRAME_SIZE_CHANGED",
            remedy="Re-encode the clip at one resolution.",
        )


def _assemble(meshes: list[FaceMesh], counts: list[int], size: list[tuple[int, int]]) -> FaceTrack:
    if not meshes:
        raise FootageError(
            "The clip has no frame.", reason="NO_FRAMES", remedy="Check that it plays."
        )
    mesh = np.stack([m.points for m in meshes])
    score = np.array([m.score for m in meshes], np.float32)
    mesh[score < MIN_PRESENCE] = 0
    score[score < MIN_PRESENCE] = 0
    return FaceTrack(
        landmarks68_of_mesh(mesh[..., :2]), mesh, score, np.array(counts, np.int32), size[0]
    )
