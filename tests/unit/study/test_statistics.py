"""The statistics against numbers of textbooks."""

from __future__ import annotations

import numpy as np
import pytest

from synctalk.errors import InputError
from synctalk.study.statistics import bootstrap, cronbach_alpha, resampled_means


def test_alpha_is_that_of_a_published_example() -> None:
    """Ten people and three questions, α = 0.773 (statology.org, "Cronbach's Alpha in Python")."""
    answers = np.array(
        [
            [1, 2, 2, 3, 2, 2, 3, 3, 2, 3],
            [1, 1, 1, 2, 3, 3, 2, 3, 3, 3],
            [1, 1, 2, 1, 2, 3, 3, 3, 2, 3],
        ],
        np.float64,
    ).T
    alpha = cronbach_alpha(answers)
    assert alpha.raw == pytest.approx(0.773, abs=5e-4)
    # the same from pairs of questions
    r = [np.corrcoef(answers[:, i], answers[:, j])[0, 1] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert alpha.standardised == pytest.approx(3 * np.mean(r) / (1 + 2 * np.mean(r)))
    assert (alpha.n_questions, alpha.n_participants) == (3, 10)


def test_questions_that_agree_wholly_have_an_alpha_of_one_and_unrelated_ones_of_none() -> None:
    person = np.arange(1.0, 6)[:, None]
    assert cronbach_alpha(person.repeat(4, 1)).raw == pytest.approx(1)
    noise = np.random.default_rng(0).normal(size=(4000, 6))
    assert abs(cronbach_alpha(noise).raw) < 0.1


def test_a_question_that_all_answer_alike_has_no_correlation() -> None:
    alpha = cronbach_alpha(np.array([[3.0, 1, 1], [3, 2, 2], [3, 4, 5]]))
    assert np.isnan(alpha.standardised)
    assert np.isfinite(alpha.raw)


@pytest.mark.parametrize("answers", [np.ones((1, 5)), np.ones((5, 1)), np.ones((4, 4))])
def test_too_little_to_compare_is_refused(answers: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        cronbach_alpha(answers)
    assert caught.value.reason == "NO_ALPHA"


def test_the_bootstrap_finds_the_standard_error_of_the_mouse_data() -> None:
    """Efron and Tibshirani 1993, table 2.1: treated mice, mean 86.86, limit of the error 23.36."""
    mice = np.array([94.0, 197, 16, 38, 99, 141, 23])
    means = resampled_means(mice, np.ones(7))
    assert means.std() == pytest.approx(23.36, rel=0.03)
    estimate = bootstrap([mice[i : i + 1] for i in range(7)])
    assert estimate.mean == pytest.approx(86.86, abs=0.005)
    assert estimate.low == pytest.approx(86.86 - 1.96 * 23.36, abs=4)
    assert estimate.high == pytest.approx(86.86 + 1.96 * 23.36, abs=4)
    assert estimate.n == 7


def test_whole_people_are_drawn_and_not_their_answers() -> None:
    """A hundred answers of a person are no surer than one."""
    people = [np.full(100, mark) for mark in (1.0, 3.0, 5.0)]
    single = [np.full(1, mark) for mark in (1.0, 3.0, 5.0)]
    assert bootstrap(people) == bootstrap(single)


def test_without_answers_there_is_no_mean() -> None:
    with pytest.raises(InputError):
        bootstrap([])
