"""The last stage: from this subject's speech to this subject's lips (METHOD, audio → lips)."""

from __future__ import annotations

import numpy as np
import torch

from synctalk.dataset import SubjectDataset
from synctalk.face_sync import AudioVisualEncoder, LipRegressor, fit_lip_regressor
from synctalk.face_sync.augment import features_of_strangers
from synctalk.progress import ProgressCallback, StageProgress
from synctalk.training.subject import Subject


def fit_lips(dataset: SubjectDataset, subject: Subject, progress: ProgressCallback) -> LipRegressor:
    """Fit the lip regressor on the training frames' speech, in many voices."""
    stage = StageProgress(progress, "lips", 1)
    valid = subject.usable.copy()
    valid[dataset.held_out_range.start :] = False
    wav = torch.from_numpy(dataset.audio())
    features = features_of_strangers(AudioVisualEncoder.pretrained(), wav, len(valid))
    regressor = fit_lip_regressor(
        features,
        subject.driving.lip,
        torch.from_numpy(np.ascontiguousarray(valid)),
        dataset.manifest.cuts,
        subject.space.opening,
    )
    stage.advance()
    return regressor
