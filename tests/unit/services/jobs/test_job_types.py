"""Payloads, results and names at the boundary."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from pydantic import ValidationError

from services.common.jobs import JobSettings, JobState, JobType
from services.common.jobs.scripts import source
from synctalk.errors import InputError


@dataclass(frozen=True)
class Dub:
    audio: str
    seconds: float = 5.0


DUB = JobType("dub", Dub, Dub)


def test_payloads_come_back_as_they_were_and_fill_in_what_older_clients_left_out() -> None:
    dub = Dub("audio/ä.wav", 7.5)
    assert DUB.load_payload(DUB.dump_payload(dub)) == dub
    assert DUB.load_payload('{"audio": "a.wav"}') == Dub("a.wav", 5.0)


@pytest.mark.parametrize(
    ("text", "field"),
    [("{}", "audio"), ('{"audio": "a", "seconds": "long"}', "seconds"), ("no json", "JSON")],
)
def test_a_payload_that_does_not_fit_is_refused_naming_the_field(text: str, field: str) -> None:
    with pytest.raises(InputError, match=field) as caught:
        DUB.load_payload(text)
    assert caught.value.reason == "INVALID_PAYLOAD"
    assert caught.value.remedy


def test_a_result_of_the_wrong_type_is_not_published() -> None:
    with pytest.raises(ValidationError):
        DUB.dump_result("done")  # type: ignore[arg-type]


def test_a_queue_whose_name_could_break_keys_is_refused() -> None:
    with pytest.raises(InputError, match="queue"):
        JobType("a}:b", Dub, Dub)


def test_unknown_or_impossible_settings_are_refused() -> None:
    with pytest.raises(ValidationError):
        JobSettings(lease=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        JobSettings(max_attempts=0)


def test_a_worker_that_beats_slower_than_its_lease_is_refused() -> None:
    with pytest.raises(ValidationError, match="lease_s"):
        JobSettings(lease_s=2, heartbeat_s=1)


def test_the_scripts_know_the_same_ends_as_the_states() -> None:
    table = re.search(r"TERMINAL = \{(.*?)\}", source("stats"))
    assert table is not None
    names = {part.split("=")[0].strip() for part in table[1].split(",")}
    assert names == {state for state in JobState if state.terminal}
