"""What every frame gets before it is encoded: the label if it is to be seen, and the mark."""

from __future__ import annotations

import cv2

from synctalk.media.planes import UInt8Array, Yuv420
from synctalk.provenance.embedding import Marker
from synctalk.provenance.label import Label
from synctalk.provenance.settings import Provenance


class Stamp:
    """Finishes pictures of one size.

    Args:
        provenance: the installation's choice.
        mark_id: what the mark carries.
        width, height: px, of the pictures that are encoded.
        label: whether the label is drawn.
    """

    def __init__(
        self, provenance: Provenance, mark_id: int, width: int, height: int, label: bool
    ) -> None:
        self._label = Label(width, height) if label else None
        self._marker: Marker | None = None
        if provenance.watermark:
            self._marker = Marker(mark_id, provenance.key, width, height)

    def __call__(self, picture: Yuv420, matte: UInt8Array | None = None) -> None:
        """Finish ``picture`` in place.

        Args:
            matte: [H,W] of what is to be seen of it: nothing else is marked, and there is no label.
        """
        if self._label is not None and matte is None:
            self._label.draw(picture)
        if self._marker is None:
            return
        if matte is None:
            self._marker.mark(picture.y)
        else:
            marked = picture.y.copy()
            self._marker.mark(marked)
            cv2.copyTo(marked, matte, picture.y)
