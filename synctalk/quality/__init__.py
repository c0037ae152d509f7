"""The quality report: whether footage can become a good avatar, and what to do if not."""

from synctalk.quality.assess import assess_footage
from synctalk.quality.picture import draw_quality_picture
from synctalk.quality.report import QualityReport, Sample, Verdict
from synctalk.quality.sound import LipOffset, lip_offset
from synctalk.quality.thresholds import QualityThresholds

__all__ = [
    "LipOffset",
    "QualityReport",
    "QualityThresholds",
    "Sample",
    "Verdict",
    "assess_footage",
    "draw_quality_picture",
    "lip_offset",
]
