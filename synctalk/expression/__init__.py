"""OOD Audio Expression Generator (S §III-E; METHOD row 12): faces that go with the voice.

prosody    a recording → loudness, pitch, pauses
events     prosody → when eyes blink and brows move, seeded
generator  prosody → 52 ARKit blendshapes, for nobody in particular
vqvae      Transformer VQ-VAE: blendshapes → those of this subject's range
track_file a user's own blendshapes
subject    blendshapes → this subject's driving coefficients
"""

from __future__ import annotations

from typing import Protocol

from synctalk.expression.events import BLINKS_PER_MINUTE, STYLES, Style
from synctalk.expression.generator import ExpressionPlan, ProsodicExpression
from synctalk.expression.prosody import FloatArray, Prosody, measure_prosody
from synctalk.expression.subject import SubjectExpression, fit_subject_expression
from synctalk.expression.track_file import read_blendshapes
from synctalk.expression.vqvae import CodebookUsage, VQVAETraining

__all__ = [
    "BLINKS_PER_MINUTE",
    "STYLES",
    "CodebookUsage",
    "ExpressionGenerator",
    "ExpressionPlan",
    "ProsodicExpression",
    "Prosody",
    "Style",
    "SubjectExpression",
    "VQVAETraining",
    "fit_subject_expression",
    "measure_prosody",
    "read_blendshapes",
]


class ExpressionGenerator(Protocol):
    """Speech to facial expression, before it is brought into a subject's own range."""

    def generate(self, prosody: Prosody) -> FloatArray:
        """ARKit blendshapes [T, 52] in [0, 1], one row a frame."""
        ...
