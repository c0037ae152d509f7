"""What the audio-visual encoder hears in a dataset's sound."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from synctalk.dataset import SubjectDataset
from synctalk.face_sync import LAYOUT, AudioVisualEncoder


def heard_in(dataset: SubjectDataset) -> NDArray[np.float32]:
    """Feature rows [T,D] of all frames: those in the dataset, or anew if another encoder's."""
    rows = dataset.audio_features().visual
    if rows.shape[1] == LAYOUT.dim:
        return rows
    wav = torch.from_numpy(dataset.audio())
    found: NDArray[np.float32] = AudioVisualEncoder.pretrained().encode(wav, len(rows)).numpy()
    return found
