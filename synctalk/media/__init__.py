"""Video and audio in and out: probing with limits, normalising, reading, writing, mel, cuts."""

from synctalk.media.audio import delayed, read_audio, write_wav
from synctalk.media.cuts import detect_cuts
from synctalk.media.limits import MediaLimits
from synctalk.media.mel import (
    PHONETIC_MEL,
    SYNC_MEL,
    MelConfig,
    log_mel,
    mel_spectrogram,
)
from synctalk.media.normalise import NormalisedMedia, normalise
from synctalk.media.picture import read_picture
from synctalk.media.planes import Yuv420, rgb_to_yuv, yuv_to_rgb
from synctalk.media.probe import AudioInfo, MediaInfo, VideoInfo, probe
from synctalk.media.reader import VideoReader
from synctalk.media.samples import FrameSample, sample_frames
from synctalk.media.writer import VideoPreset, VideoWriter

__all__ = [
    "PHONETIC_MEL",
    "SYNC_MEL",
    "AudioInfo",
    "FrameSample",
    "MediaInfo",
    "MediaLimits",
    "MelConfig",
    "NormalisedMedia",
    "VideoInfo",
    "VideoPreset",
    "VideoReader",
    "VideoWriter",
    "Yuv420",
    "delayed",
    "detect_cuts",
    "log_mel",
    "mel_spectrogram",
    "normalise",
    "probe",
    "read_audio",
    "read_picture",
    "rgb_to_yuv",
    "sample_frames",
    "write_wav",
    "yuv_to_rgb",
]
