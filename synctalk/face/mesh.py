"""The default face tracker: MediaPipe's networks, frame by frame, with no smoothing.

Per frame: the plain landmark network looks at the square around the previous frame's landmarks and
only locates the face. The attention network then looks at two squares around what was located, so
that the result does not depend on how far the head moved; the mean of the two is steadier than
either (measured on the virtual subject: jitter 0.54 px instead of 0.63). MediaPipe's own video mode
would filter over time, which shrinks lip gaps and delays motion; nothing here does.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from operator import length_hint

import numpy as np

from synctalk.errors import FootageError
from synctalk.face import topology
from synctalk.face.detection import Detection, FaceDetector
from synctalk.face.ibug import landmarks68_of_mesh
from synctalk.face.landmarking import FaceMesh, Landmarker, RefinedLandmarker
from synctalk.face.networks import Roi
from synctalk.face.tracking import FaceTrack, FloatArray, Image, check_size
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

ROI_SCALE = 1.5  # MediaPipe's square, times the landmarks' extent
REFINE_SCALES = (1.3, 1.5)  # the tighter one resolves the lips better
MIN_PRESENCE = 0.5
DETECT_EVERY = 25  # frames between looks for other faces
IN_FLIGHT = 8  # frames being refined at once: bounds memory


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


def roi_of_mesh(mesh: FloatArray, scale: float = ROI_SCALE) -> Roi:
    """Where to look for landmarks given those of the frame before (or of the first pass)."""
    face = mesh[: topology.N_FACE, :2]
    right, left = (mesh[i, :2] for i in topology.OUTER_EYE_CORNERS)
    return _square(face, right, left, scale)


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
        self._locator = Landmarker()
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
        stage = StageProgress(progress, "track", length_hint(frames))
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
            check_size(image, index, size)
            if index in cuts:
                previous = None
            found = self._locator(image, roi_of_mesh(previous)) if (previous is not None) else None
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
            found = self._locator(image, roi_of_detection(detection))
            if found.score >= MIN_PRESENCE:
                return found
        return None

    def _refine(self, image: Image, start: FloatArray | None) -> FaceMesh:
        """The second pass and the irises, in a worker thread."""
        if start is None:
            return FaceMesh(np.zeros((topology.N_MESH, 3), np.float32), 0.0)
        if not hasattr(self._local, "landmarker"):
            self._local.landmarker = RefinedLandmarker()
        landmarker: RefinedLandmarker = self._local.landmarker
        looks = [landmarker(image, roi_of_mesh(start, scale)) for scale in REFINE_SCALES]
        points = np.stack([look.points for look in looks]).mean(axis=0)
        return FaceMesh(points.astype(np.float32), min(look.score for look in looks))


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
