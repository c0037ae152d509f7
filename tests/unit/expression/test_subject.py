from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synctalk.expression import (
    ProsodicExpression,
    SubjectExpression,
    VQVAETraining,
    fit_subject_expression,
    measure_prosody,
)
from synctalk.expression.subject import BLINKS, COLUMNS, PARTS
from synctalk.expression.vqvae import WINDOW, Codebook, ExpressionVQVAE
from synctalk.face import ARKIT_NAMES

FRAMES = 600
CUT = 301
BLINK = ARKIT_NAMES.index("eyeBlinkLeft")


def own_track() -> np.ndarray:
    """Someone who blinks, and raises the brows to 0.4 and never further."""
    silence = measure_prosody(np.zeros(640 * FRAMES, "f4"), FRAMES)
    rows = ProsodicExpression("neutral", 25, seed=5).generate(silence)
    wave = 0.2 + 0.2 * np.sin(np.arange(FRAMES) / 9)
    for name in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"):
        rows[:, ARKIT_NAMES.index(name)] = wave
    return rows


def coefficients_of(rows: np.ndarray) -> Tensor:
    """Three coefficients: lids, brows, and something of its own."""
    drift = np.cos(np.arange(len(rows)) / 40)
    lids, brow = rows[:, BLINK], rows[:, ARKIT_NAMES.index("browInnerUp")]
    return torch.tensor(np.stack([3 * lids - 0.2, 4 * brow - 0.8, drift], 1)).float()


@pytest.fixture(scope="module")
def subject() -> SubjectExpression:
    rows = own_track()
    fitted = fit_subject_expression(
        coefficients_of(rows), rows, np.ones(FRAMES, bool), (CUT,), VQVAETraining(steps=250)
    )
    assert fitted is not None
    return fitted[0]


def test_footage_is_calmed_but_keeps_what_no_blendshape_says(subject: SubjectExpression) -> None:
    own = coefficients_of(own_track())
    assert float(subject.calm[:, 0].std()) < 0.15 * float(own[:, 0].std())
    assert float(subject.calm[:, 1].std()) < 0.25 * float(own[:, 1].std())
    kept = torch.corrcoef(torch.stack([subject.calm[:, 2], own[:, 2]]))[0, 1]
    assert float(kept) > 0.98


def test_a_generated_blink_closes_this_subjects_lids(subject: SubjectExpression) -> None:
    silence = measure_prosody(np.zeros(640 * 200, "f4"), 200)
    track = ProsodicExpression("neutral").generate(silence)
    lids = subject.coefficients(np.arange(200), track)[:, 0]
    closed = track[:, BLINK] > 0.85
    assert closed.any()
    assert lids[closed].min() > 1.5  # 2.8 is this subject's closed eye, -0.2 the open one
    assert lids[track[:, BLINK] == 0].max() < 0.9


def test_brows_beyond_the_subjects_range_are_brought_into_it(subject: SubjectExpression) -> None:
    track = np.zeros((80, 52), "f4")
    track[:, [ARKIT_NAMES.index("browInnerUp")]] = 1.0
    rows = subject.in_range(track)
    assert float(rows[20:60, COLUMNS.index(ARKIT_NAMES.index("browInnerUp"))].max()) < 0.55


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0, 5))
def test_whatever_comes_in_stays_within_what_the_face_has_done(
    subject: SubjectExpression, seed: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    track = (scale * rng.normal(size=(12, 52))).astype("f4")
    out = torch.from_numpy(subject.coefficients(rng.integers(0, FRAMES, 12), track))
    assert bool((out >= subject.low).all())
    assert bool((out <= subject.high).all())


@settings(max_examples=20, deadline=None)
@given(first=st.integers(0, 24).map(lambda b: 4 * b), length=st.integers(1, 15))
def test_a_segment_with_its_context_is_bit_by_bit_part_of_the_whole(
    subject: SubjectExpression, first: int, length: int
) -> None:
    track = np.random.default_rng(1).random((118, 52)).astype("f4")
    order = np.arange(118)
    whole = subject.coefficients(order, track)
    stop = min(first + 4 * length, 118)
    part = subject.coefficients(
        order[first:stop], track[first:stop], track[max(0, first - 16) : first], track[stop:][:4]
    )
    np.testing.assert_array_equal(part, whole[first:stop])


def test_it_survives_storage(subject: SubjectExpression) -> None:
    track = np.random.default_rng(2).random((30, 52)).astype("f4")
    again = SubjectExpression.from_state(subject.state())
    order = np.arange(30)
    np.testing.assert_array_equal(
        again.coefficients(order, track), subject.coefficients(order, track)
    )


def test_lids_do_not_depend_on_brows(subject: SubjectExpression) -> None:
    track = own_track()[:60]
    raised = track.copy()
    raised[:, COLUMNS[: len(PARTS[0])]] = 1.0
    lids = [subject.in_range(rows)[:, BLINKS] for rows in (track, raised)]
    assert torch.equal(*lids)


def test_too_little_footage_gives_none() -> None:
    rows = own_track()
    learn = np.arange(FRAMES) % 12 > 0  # never 16 frames in a row
    assert fit_subject_expression(coefficients_of(rows), rows, learn, ()) is None


def test_training_repeats_itself_and_leaves_the_global_random_state_alone() -> None:
    rows = own_track()
    torch.manual_seed(7)
    expected = torch.rand(1)
    runs = []
    for _ in range(2):
        torch.manual_seed(7)
        fitted = fit_subject_expression(
            coefficients_of(rows), rows, np.ones(FRAMES, bool), (), VQVAETraining(steps=3)
        )
        assert fitted is not None
        runs.append(fitted[0].state())
        assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_the_codebook_passes_gradients_straight_through() -> None:
    codebook = Codebook(1)
    encoded = torch.randn(1, 2, 3, codebook.entries.shape[1] * codebook.entries.shape[3])
    encoded.requires_grad_()
    (gradient,) = torch.autograd.grad(codebook(encoded).tokens.sum(), encoded)
    assert torch.equal(gradient, torch.ones_like(encoded))


def test_the_codebook_takes_the_nearest_entry() -> None:
    codebook = Codebook(1)
    wanted = torch.tensor([5, 9])
    with torch.no_grad():
        near = codebook.entries[0, torch.arange(2), wanted] + 1e-3
        quantised = codebook(near.reshape(1, 1, 1, -1))
    assert torch.equal(quantised.indices[0, 0, 0], wanted)
    assert float(quantised.loss) == pytest.approx(1.25e-6, rel=0.01)


def test_windows_keep_their_shape() -> None:
    model = ExpressionVQVAE(PARTS)
    decoded, quantised = model(torch.rand(3, WINDOW, len(COLUMNS)))
    assert decoded.shape == (3, WINDOW, len(COLUMNS))
    assert quantised.indices.shape == (2, 3, WINDOW // 2, 2)
