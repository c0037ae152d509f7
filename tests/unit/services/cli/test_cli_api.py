"""The client of the API: what it repeats, what it gives up, how it follows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_api import Answer, Asked, refusal, said, serving

from services.cli.api import Api, parse_events
from services.cli.transfer import download, upload
from services.common.errors import (
    Conflict,
    CorruptData,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from services.common.local_server import free_port
from synctalk.errors import InputError, SyncTalkError


def in_turn(*answers: Answer) -> Callable[[Asked], Answer]:
    left = list(answers)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


def nothing(done: int, total: int) -> None:
    pass


def test_a_request_shows_the_key() -> None:
    with serving(in_turn(said({"id": "av_1"}))) as server:
        assert Api(server.url, "avk_secret", 0).get("avatars/av_1") == {"id": "av_1"}
    assert server.asked[0].path == "/v1/avatars/av_1"
    assert server.asked[0].headers["authorization"] == "Bearer avk_secret"


def test_what_creates_is_repeated_with_the_same_idempotency_key() -> None:
    with serving(in_turn(refusal(503, "AWAY"), said({"id": "dub_1"}))) as server:
        assert Api(server.url, "k", 30).post("dubs", {"avatar": "av_1"})["id"] == "dub_1"
        Api(server.url, "k", 30).post("dubs", {"avatar": "av_1"})
    keys = [asked.headers["idempotency-key"] for asked in server.asked]
    assert keys[0] == keys[1]
    assert keys[2] != keys[0]
    assert json.loads(server.asked[1].body) == {"avatar": "av_1"}


def test_what_takes_long_is_waited_for_and_not_asked_twice() -> None:
    never = threading.Event()

    def slowly(asked: Asked) -> Answer:
        never.wait(1.0)
        return said({"verdict": "unknown"})

    with serving(slowly) as server:
        with pytest.raises(Unavailable):
            Api(server.url, "k", 0).post("verify", {}, answer_s=0.1)
        Api(server.url, "k", 30).post("verify", {}, answer_s=30.0)
    assert len(server.asked) == 2


def test_it_waits_as_long_as_it_is_told_when_there_are_too_many_requests() -> None:
    busy = refusal(429, "RATE_LIMIT", retry_after="1")
    with serving(in_turn(busy, said({"id": "x"}))) as server:
        began = time.monotonic()
        Api(server.url, "k", 30).get("me")
        assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Unauthenticated), (404, NotFound), (409, Conflict), (422, InputError),
        (429, ResourceExhausted), (503, Unavailable),
    ],
)  # fmt: skip
def test_what_the_api_refuses_is_an_error_in_its_words(
    status: int, kind: type[SyncTalkError]
) -> None:
    answer = refusal(status, "SOME_REASON", "It is so.")
    with serving(in_turn(answer)) as server, pytest.raises(kind) as caught:
        Api(server.url, "k", 0).get("me")
    assert caught.value.reason == "SOME_REASON"
    assert caught.value.message.startswith("It is so.")
    assert caught.value.remedy == "Do."


def test_an_answer_that_is_not_of_the_api_is_an_error_too() -> None:
    html = Answer(404, b"<html>nginx</html>")
    with serving(in_turn(html)) as server, pytest.raises(NotFound, match="HTTP 404"):
        Api(server.url, "k", 0).get("me")


def test_a_suite_that_is_away_is_given_up_in_the_end_and_says_how_to_start_it() -> None:
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        Api(f"http://127.0.0.1:{free_port()}", "k", 0.2).get("me")
    assert "avatar up" in caught.value.remedy


def test_a_patient_client_rides_out_a_restart_and_says_so() -> None:
    port, notes, done = free_port(), list[str](), list[dict[str, object]]()
    api = Api(f"http://127.0.0.1:{port}", "k", 60, notes.append)
    asking = threading.Thread(target=lambda: done.append(api.get("me")))
    asking.start()
    while not notes:
        time.sleep(0.02)
        assert asking.is_alive()
    with serving(in_turn(said({"tenant": "t"})), port):
        asking.join(30)
    assert done == [{"tenant": "t"}]
    assert "away" in notes[0]
    assert "back" in notes[-1]


def test_a_list_takes_as_many_pages_as_it_needs() -> None:
    def answer(asked: Asked) -> Answer:
        last = "token=next" in asked.path
        data = [{"id": "3"}] if last else [{"id": "1"}, {"id": "2"}]
        return said({"data": data, "next_token": None if last else "next"})

    with serving(answer) as server:
        assert [one["id"] for one in Api(server.url, "k", 0).list("avatars", 9)] == ["1", "2", "3"]


def test_events_are_parsed_with_comments_ids_and_several_lines_of_data() -> None:
    text = ': beat\n\nid: 1\ndata: {"a":\ndata: 1}\n\nid: 2\ndata: {"a": 2}\n\ndata: {"a": 3}'
    events = [(event.id, event.data) for event in parse_events(iter(text.split("\n")))]
    assert events == [("1", {"a": 1}), ("2", {"a": 2})]  # the last one is not whole


def test_a_broken_event_stream_is_resumed_after_its_last_event() -> None:
    streams = in_turn(
        Answer(200, b'id: 7\ndata: {"state": "running"}\n\n', announced=999),
        Answer(200, b'id: 8\ndata: {"state": "succeeded"}\n\n'),
    )

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/events"):
            return streams(asked)
        return said({"state": "queued"})

    with serving(answer) as server:
        seen = [
            found["state"]
            for found in Api(server.url, "k", 30).watch(
                "dubs/d", lambda found: found["state"] == "succeeded"
            )
        ]
    assert seen == ["queued", "running", "queued", "succeeded"]
    assert server.asked[-1].headers["last-event-id"] == "7"


def test_without_events_it_asks() -> None:
    states = in_turn(said({"state": "queued"}), said({"state": "ready"}))

    def answer(asked: Asked) -> Answer:
        return refusal(500, "BUG") if asked.path.endswith("/events") else states(asked)

    with serving(answer) as server:
        ended = list(
            Api(server.url, "k", 30).watch("avatars/a", lambda one: one["state"] == "ready")
        )
    assert [one["state"] for one in ended] == ["queued", "ready"]


def test_an_upload_sends_the_file_with_the_headers_of_its_ticket(tmp_path: Path) -> None:
    file = tmp_path / "me.mp4"
    file.write_bytes(bytes(range(256)) * 3000)
    size = file.stat().st_size

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return said({"id": "up_1", "url": f"{server.url}/put", "headers": {"x-signed": "1"}})
        return refusal(503, "AWAY") if len(server.asked) == 2 else Answer()

    seen: list[tuple[int, int]] = []
    with serving(answer) as server:
        api = Api(server.url, "k", 30)
        assert upload(api, file, "video", lambda *counts: seen.append(counts)) == "up_1"
    ticket, _, put = server.asked
    assert json.loads(ticket.body) == {
        "filename": "me.mp4", "content_type": "video/mp4", "size_bytes": size, "kind": "video",
    }  # fmt: skip
    assert put.method == "PUT"
    assert put.body == file.read_bytes()
    assert put.headers["x-signed"] == "1"
    assert put.headers["content-length"] == str(size)
    assert "authorization" not in put.headers
    assert seen[-1] == (size, size)


def test_a_file_that_cannot_be_sent_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    with serving(in_turn(Answer())) as server:
        for name in ("empty.wav", "absent.wav"):
            with pytest.raises(InputError, match=name):
                upload(Api(server.url, "k", 0), tmp_path / name, "audio", nothing)
    assert server.asked == []


def test_a_download_appears_whole(tmp_path: Path) -> None:
    out = tmp_path / "new" / "dub.mp4"
    with serving(in_turn(Answer(503), Answer(200, b"video"))) as server:
        size = download(Api(server.url, "k", 30), lambda: server.url + "/signed", out, nothing)
    assert (size, out.read_bytes()) == (5, b"video")
    assert list(out.parent.iterdir()) == [out]


def test_a_download_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "dub.mp4"
    out.write_bytes(b"old")
    cut = Answer(200, b"vid", announced=5)
    with serving(in_turn(cut)) as server, pytest.raises((Unavailable, CorruptData)):
        download(Api(server.url, "k", 0.2), lambda: server.url, out, nothing)
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]
