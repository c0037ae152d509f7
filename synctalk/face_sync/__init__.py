"""Face-Sync Controller: what speech does to lips and face (S, section III-B; METHOD rows 1 and 3).

encoder       speech → one feature row per video frame (frozen, shipped weights)
discriminator do these lips belong to this speech, and how late are they
lip_features  tracked meshes → a subject's standardised lip, eye, brow and pose coefficients
lip_head      feature rows → the subject's lip coefficients
filmed        mouths unlike all that were filmed → the nearest that were
attention     which of the two halves of a face each coefficient may move
pretrain      how the encoder's weights were made
"""

from synctalk.face_sync.attention import FacialMask, MaskedAttention, facial_mask
from synctalk.face_sync.discriminator import SyncDiscriminator, SyncScore, lip_shapes
from synctalk.face_sync.encoder import (
    ENCODER_VERSION,
    LAYOUT,
    AudioVisualEncoder,
    EncoderStream,
    FeatureLayout,
)
from synctalk.face_sync.filmed import FilmedMouths
from synctalk.face_sync.lip_features import (
    EYE_POINTS,
    INNER_LIP,
    IRIS_POINTS,
    LIP_POINTS,
    OUTER_LIP,
    DrivingSpace,
    LinearSpace,
    LipOpening,
    fit_driving_space,
)
from synctalk.face_sync.lip_head import LipRegressor, fit_lip_regressor
from synctalk.face_sync.speech import SpeechStats, measure
from synctalk.face_sync.visemes import VISEMES

__all__ = [
    "ENCODER_VERSION",
    "EYE_POINTS",
    "INNER_LIP",
    "IRIS_POINTS",
    "LAYOUT",
    "LIP_POINTS",
    "OUTER_LIP",
    "VISEMES",
    "AudioVisualEncoder",
    "DrivingSpace",
    "EncoderStream",
    "FacialMask",
    "FeatureLayout",
    "FilmedMouths",
    "LinearSpace",
    "LipOpening",
    "LipRegressor",
    "MaskedAttention",
    "SpeechStats",
    "SyncDiscriminator",
    "SyncScore",
    "facial_mask",
    "fit_driving_space",
    "fit_lip_regressor",
    "lip_shapes",
    "measure",
]
