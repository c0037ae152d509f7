"""What a live session is put together from, each part alone."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from services.common.errors import ResourceExhausted
from services.dubbing import features as features_of_dubs
from services.gateway.live.rendering import CONTEXT
from services.renderer.admission import Admission
from services.renderer.autoscaling import LiveLoad, wanted_replicas
from services.renderer.lips import AFTER, BEFORE, FUTURE, PAST
from services.renderer.moments import FeatureWindow, LiveFeatures, Moment
from services.renderer.threads import StillsAhead, Threads
from synctalk.errors import InputError
from synctalk.face_sync import LAYOUT
from synctalk.live import Still


def features(frame: int) -> LiveFeatures:
    return LiveFeatures(frame, np.full(LAYOUT.dim, frame, np.float32))


def pushed(window: FeatureWindow, frames: range) -> list[Moment]:
    return [moment for frame in frames if (moment := window.push(features(frame)))]


def frames_around(moment: Moment) -> list[int]:
    return [each.frame for each in moment.around]


def test_a_moment_is_a_frame_with_what_its_lips_depend_on() -> None:
    window = FeatureWindow([])
    moments = [*pushed(window, range(80)), window.finish()]
    assert [moment.frame for moment in moments if moment] == list(range(80))
    middle = moments[60]
    assert middle is not None
    assert middle.around[middle.at].frame == 60
    assert frames_around(middle)[-1] == 61
    assert frames_around(middle)[0] <= 60 - PAST
    last = moments[79]
    assert last is not None
    assert frames_around(last)[-1] == 79
    assert window.finish() is None


def test_context_gives_the_moments_of_a_session_that_never_moved() -> None:
    whole = pushed(FeatureWindow([]), range(60))
    moved = pushed(FeatureWindow([features(frame) for frame in range(14, 30)]), range(30, 60))
    assert moved[0].frame == 30
    for ours, theirs in zip(moved, whole[30:], strict=True):
        assert frames_around(ours)[-15:] == frames_around(theirs)[-15:]


def test_what_an_interruption_takes_back_is_forgotten_however_long_the_session() -> None:
    window = FeatureWindow([])
    pushed(window, range(5000))
    window.resume(4900)
    moments = pushed(window, range(4900, 4910))
    assert [moment.frame for moment in moments] == list(range(4900, 4909))
    assert frames_around(moments[0])[:-1] == list(range(4900 - len(moments[0].around) + 2, 4901))
    window.resume(6000)  # a jump: nothing before it counts
    assert frames_around(pushed(window, range(6000, 6002))[0]) == [6000, 6001]


def test_a_frame_too_far_is_refused() -> None:
    window = FeatureWindow([features(3)])
    with pytest.raises(InputError, match="frame 5 in place of 4"):
        window.push(features(5))


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_replica_whose_frames_are_late_takes_no_other_session_until_they_are_not() -> None:
    clock = Clock()
    admission = Admission(5, 0.1, clock)
    with admission.session():
        for late in [True] * 20 + [False] * 80:
            clock.now_s += 0.04
            admission.frame(0.1, late)
        assert admission.late_share == pytest.approx(0.2)
        with pytest.raises(ResourceExhausted) as caught, admission.session():
            pass
        assert caught.value.reason == "RENDERER_FULL"
        clock.now_s += 6
        with admission.session():
            assert admission.sessions == 2
    assert admission.sessions == 0


@pytest.mark.parametrize(
    ("replicas", "streams", "late", "wanted"),
    [
        (1, 0, 0.0, 1),
        (1, 2, 0.0, 1),
        (1, 3, 0.0, 2),
        (1, 12, 0.0, 6),
        (3, 2, 0.0, 1),  # idle ones go
        (2, 3, 0.2, 3),  # late although the count would do
        (3, 2, 0.02, 3),  # none goes while any is late
        (2, 0, 0.2, 1),  # nobody left to be late for
    ],
)
def test_replicas_follow_streams_and_lateness(
    replicas: int, streams: float, late: float, wanted: int
) -> None:
    assert wanted_replicas(LiveLoad(replicas, streams, late), 2) == wanted


class Film:
    """Stills that are counted and closed."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.open = 0
        self.decoded = 0

    def walk(self, first: int):  # type: ignore[no-untyped-def]
        self.begun.append(first)
        self.open += 1
        try:
            while True:
                self.decoded += 1
                yield Still(first, None, None, None, None)  # type: ignore[arg-type]
                first += 1
        finally:
            self.open -= 1


def test_stills_are_decoded_a_little_ahead_and_found_again_after_a_jump() -> None:
    film = Film()

    async def work() -> None:
        ahead = StillsAhead(film.walk, Threads(2))
        assert [(await ahead.take(frame)).number for frame in range(5)] == [0, 1, 2, 3, 4]
        assert (await ahead.take(2)).number == 2
        assert (await ahead.take(3)).number == 3
        assert film.begun == [0, 2]
        await ahead.close()
        assert film.open == 0
        assert film.decoded < 40

    asyncio.run(work())


def test_a_job_is_not_left_running_when_its_caller_goes() -> None:
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def job() -> None:
        began.set()
        go_on.wait(10)
        ended.set()

    async def work() -> None:
        task = asyncio.create_task(Threads(1).run(job))
        await asyncio.to_thread(began.wait, 10)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(work())


def test_what_is_sent_along_reaches_as_far_back_as_lips_do() -> None:
    assert BEFORE == features_of_dubs.BEFORE == CONTEXT
    assert BEFORE >= PAST
    assert AFTER == features_of_dubs.AFTER
    assert AFTER >= FUTURE
