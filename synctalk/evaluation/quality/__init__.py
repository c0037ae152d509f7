"""Every metric of the paper's evaluation (section IV): what each is, and how to measure it.

``METRICS`` says of each what it means and needs; :class:`VideoScorer` measures one video against
another, frame by frame. A metric whose model is not on this machine is :class:`Absent` with the way
to get it; nothing ever stands in for it.
"""

from synctalk.evaluation.quality.actions import OpenFacePair
from synctalk.evaluation.quality.models import QualityModels
from synctalk.evaluation.quality.scorer import VideoScorer, VideoScores
from synctalk.evaluation.quality.spec import METRICS, Absent, Kind, MetricSpec, Need

__all__ = [
    "METRICS",
    "Absent",
    "Kind",
    "MetricSpec",
    "Need",
    "OpenFacePair",
    "QualityModels",
    "VideoScorer",
    "VideoScores",
]
