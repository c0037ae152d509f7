"""What this subject's brows and lids do: the stage that lets a voice move them."""

from __future__ import annotations

from dataclasses import dataclass

from synctalk.dataset import SubjectDataset
from synctalk.expression import (
    CodebookUsage,
    SubjectExpression,
    VQVAETraining,
    fit_subject_expression,
)
from synctalk.progress import ProgressCallback, StageProgress
from synctalk.threads import one_thread_an_operation
from synctalk.training.subject import Subject


@dataclass(frozen=True)
class FittedExpression:
    """The subject's expression, and how its footage uses the codebook."""

    subject: SubjectExpression
    usage: CodebookUsage

    def metrics(self) -> dict[str, float]:
        """For the avatar's manifest; means over the groups of the codebook."""
        return {
            "expression_codebook_perplexity": sum(self.usage.perplexity)
            / len(self.usage.perplexity),
            "expression_codebook_dead": float(sum(self.usage.dead)),
            "expression_reconstruction_rms": self.usage.reconstruction,
        }


def fit_expression(
    dataset: SubjectDataset,
    subject: Subject,
    training: VQVAETraining,
    progress: ProgressCallback,
) -> FittedExpression | None:
    """Fit on the training frames; None where no second of them is tracked without a gap."""
    stage = StageProgress(progress, "expression", 1)
    learn = subject.usable.copy()
    learn[dataset.held_out_range.start :] = False
    with one_thread_an_operation():
        fitted = fit_subject_expression(
            subject.driving.expression,
            dataset.tracks.blendshapes,
            learn,
            dataset.manifest.cuts,
            training,
        )
    stage.advance()
    return FittedExpression(*fitted) if fitted is not None else None
