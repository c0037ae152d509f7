"""What needs no server: tokens of lists, addresses that may be called, progress over two jobs."""

from __future__ import annotations

import asyncio

import pytest

from services.common.jobs.model import Job, JobState, Progress
from services.gateway.avatars import overall_progress
from services.gateway.delivery import Refused, resolve
from services.gateway.model import AvatarRecord, derived_id
from services.gateway.records import make_token, parse_token
from synctalk.errors import InputError

AVATAR = AvatarRecord(
    id="av_1", tenant="acme", created_s=0, name="Ann", video="up_1", consent="con_1",
    preset="demo", size_px=512, updated_s=0, preprocess_job="p",
)  # fmt: skip


def job(fraction: float, eta_s: float | None) -> Job:
    progress = Progress("track", fraction, eta_s, {}, "", 0)
    return Job(
        "p", "acme", JobState.RUNNING, 1, 0, 5, "w", False, progress, "", "", None, None,
        0.0, 0.0, 0.0, None, 1,
    )  # fmt: skip


def test_a_token_gives_back_what_it_was_made_of() -> None:
    assert parse_token(make_token(1234.0, "av_1")) == ("1234", "av_1")
    assert parse_token("") == ("", "")


@pytest.mark.parametrize("token", ["x", "!!", "MTIz", "é", make_token(1.0, "a/b"), "A" * 500])
def test_tokens_of_others_are_refused(token: str) -> None:
    with pytest.raises(InputError):
        parse_token(token)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "fc00::1", "::ffff:127.0.0.1",
        "64:ff9b::a00:1", "2002:7f00:1::", "localhost",
    ],
)  # fmt: skip
def test_private_addresses_are_never_called(host: str) -> None:
    with pytest.raises(Refused):
        asyncio.run(resolve(host, 443, allow_private=False))
    if host == "127.0.0.1":
        assert asyncio.run(resolve(host, 443, allow_private=True)) == host


def test_public_addresses_are_called() -> None:
    assert asyncio.run(resolve("93.184.216.34", 443, allow_private=False)) == "93.184.216.34"


def test_progress_grows_over_both_jobs_and_reckons_the_second_from_the_first() -> None:
    steps = (0.0, 0.5, 1.0)
    training = AVATAR.model_copy(update={"train_job": "t", "phase": "training"})
    fractions = [
        overall_progress(record, job(done, None))[0]
        for record in (AVATAR, training)
        for done in steps
    ]
    assert fractions == sorted(fractions)
    assert fractions[2] == fractions[3]
    assert fractions[-1] == 1
    fraction, eta_s = overall_progress(AVATAR, job(0.5, 70.0))
    assert eta_s is not None
    # What is left takes the time per share that preprocessing has shown.
    assert eta_s == pytest.approx(70.0 / (0.5 * 140 / 185) * (1 - fraction))
    assert overall_progress(training, job(0.5, 20.0))[1] == 20.0


def test_the_same_parts_make_the_same_id() -> None:
    assert derived_id("ev", "a", 1) == derived_id("ev", "a", 1)
    assert derived_id("ev", "a", 1) != derived_id("ev", "a", 2)
