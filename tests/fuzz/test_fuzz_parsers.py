"""What reads untrusted or stored bytes in a process of ours: any bytes are read or refused.

Each parser may raise the error that it promises, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from fuzz_report import INPUTS, SEED
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mutate import mutated
from pydantic import ValidationError
from safetensors.numpy import load_file, save

from services.common.artifacts import _Listing
from services.common.names import check_owned, parse_name
from services.common.rpc.messages import artifact_ref
from services.common.storage import check_key
from services.gateway import delivery
from services.gateway.delivery import check_url
from services.gateway.errors import ParamError
from services.gateway.live.news import ToClient, listen, obey
from services.gateway.records import parse_token
from services.gen.avatar.v1 import renderer_pb2
from services.renderer import wire
from synctalk import bundle, dataset
from synctalk.bundle import BundleManifest
from synctalk.dataset import DatasetManifest
from synctalk.errors import InputError, MediaError, SyncTalkError
from synctalk.expression.track_file import read_blendshapes
from synctalk.face import ARKIT_NAMES
from synctalk.media import MediaLimits
from synctalk.media.audio import _read_plain_wav, write_wav
from synctalk.media.sandbox import Request, _message
from synctalk.tensor_files import checked

NAMES = st.text(max_size=80) | st.from_regex(r"tenants/[a-z.]{0,4}/([a-z.%\\]{0,4}/){0,3}")
HERE = Path("here")


def fuzzed(strategy: st.SearchStrategy[Any], go: Callable[[Any], object]) -> None:
    """Call ``go`` with as many inputs as are wanted, the same for the same seed."""

    @seed(SEED)
    @settings(
        max_examples=INPUTS, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def every(value: Any) -> None:
        go(value)

    every()


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """``good`` with damage, or anything at all."""
    others = [good, b"\x00" * 64, b'{"a":[' * 32, b"\xff" * 64]
    numbers = st.integers(0, 1 << 62)
    changed = numbers.map(lambda number: mutated(good, others, random.Random(number)))
    return changed | changed | st.binary(max_size=500)


def test_wav(tmp_path: Path) -> None:
    write_wav(tmp_path / "good.wav", np.zeros(400, np.float32))

    def go(data: bytes) -> None:
        (tmp_path / "bad.wav").write_bytes(data)
        wav = _read_plain_wav(tmp_path / "bad.wav", 16_000, 1.0)
        assert wav is None or len(wav) <= 16_000

    fuzzed(damaged((tmp_path / "good.wav").read_bytes()), go)


@pytest.mark.parametrize(
    ("parse", "version"),
    [
        (BundleManifest.from_json, bundle.SCHEMA_VERSION),
        (DatasetManifest.from_json, dataset.SCHEMA_VERSION),
    ],
)
def test_manifests(parse: Callable[[bytes, Path], object], version: int) -> None:
    good = {
        "schema_version": version, "crop": {"x": 0, "y": 0, "size": 1}, "size": 1, "cuts": [],
        "files": {"avatar.safetensors": "0" * 64}, "training_curve": [], "window": [0, 1],
    }  # fmt: skip

    def go(data: bytes) -> None:
        with contextlib.suppress(InputError):
            parse(data, HERE)

    fuzzed(damaged(json.dumps(good).encode()), go)


def test_files_of_tensors(tmp_path: Path) -> None:
    """What we let through, the library reads or refuses in its own words."""
    path = tmp_path / "tensors"

    def go(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(InputError):
            checked(path)
            with contextlib.suppress(Exception):
                load_file(path)

    fuzzed(damaged(save({"a": np.zeros((3, 4), np.float32), "b": np.zeros(2, np.int8)})), go)


class Session:
    """Takes sound as a live session does, and does what it is told."""

    def push_audio(self, pcm: bytes) -> None:
        if len(pcm) % 2:
            raise InputError("half a sample", reason="BAD_AUDIO", remedy="Send whole samples.")

    def end_segment(self) -> None: ...
    def keep_alive(self) -> None: ...
    def clear_buffer(self) -> int:
        return 0

    async def end(self, code: str, message: str) -> None: ...


def test_messages_over_a_websocket() -> None:
    session: Any = Session()

    def answered(answer: ToClient | None) -> None:
        assert answer is None or answer.model_dump_json().encode()

    def text(data: bytes) -> None:
        answered(asyncio.run(obey(session, data.decode("utf-8", "replace"))))

    fuzzed(damaged(b'{"type":"audio","data":"AAAA"}'), text)
    fuzzed(damaged(b'{"type":"keep_alive"}'), text)
    fuzzed(st.text(max_size=200), lambda said: answered(asyncio.run(obey(session, said))))
    fuzzed(st.binary(max_size=99), lambda pcm: answered(listen(session, pcm)))


def test_urls_of_webhooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names resolve to this machine: whatever is accepted is an address, and a public one."""

    class Resolver:
        async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
            try:
                address = ipaddress.ip_address(host.partition("%")[0])
            except ValueError:
                host.encode("idna")
                address = ipaddress.ip_address("127.0.0.1")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (str(address), port))]

    monkeypatch.setattr(delivery.asyncio, "get_running_loop", lambda: Resolver())
    part = st.text(max_size=20) | st.ip_addresses().map(str) | st.ip_addresses().map("[{}]".format)
    schemes = st.sampled_from(["https://", "HTTPS://", "http://", "", "https:", "//"])
    urls = st.builds("{}{}{}".format, schemes, part, st.text(max_size=20))

    def go(url: str) -> None:
        try:
            asyncio.run(check_url(url, allow_private=False))
        except ParamError:
            return
        address = ipaddress.ip_address(str(urlsplit(url).hostname))
        assert address.is_global
        assert not address.is_multicast

    fuzzed(urls, go)
    fuzzed(st.text(max_size=200), go)


def test_names_and_keys() -> None:
    def go(name: str) -> None:
        for parse in (
            lambda: parse_name("name", name, "tenants", "avatars"),
            lambda: check_owned("key", name, "acme"),
            lambda: parse_token(name),
        ):
            with contextlib.suppress(SyncTalkError):
                parse()
        with contextlib.suppress(InputError):
            steps = check_key(name).split("/")
            assert not {"", ".", ".."} & set(steps)
            assert (Path("/root") / name).resolve().is_relative_to("/root")

    fuzzed(NAMES, go)


def test_listings_of_folders() -> None:
    good = _Listing.model_validate(
        {"files": [{"path": "a/b", "size_bytes": 1, "sha256": "0" * 64}]}
    ).model_dump_json()

    def go(data: bytes) -> None:
        with contextlib.suppress(ValidationError):
            _Listing.model_validate_json(data)

    fuzzed(damaged(good.encode()), go)


def test_answers_of_the_limited_process() -> None:
    request = Request("probe", "/file", MediaLimits())

    def go(data: bytes) -> None:
        with contextlib.suppress(MediaError):
            assert isinstance(_message(request, data), dict)

    fuzzed(damaged(b'{"progress":[1,2]}'), go)


def test_requests_for_segments() -> None:
    good = renderer_pb2.RenderSegmentRequest(
        avatar_version="tenants/a/avatars/b/versions/1", output_key="tenants/a/x",
        features=[{"time_code": {"frame": 1}, "lip_feature": [0.0] * 8}],
        video_options={"background": {"colour": {"red": 1}}},
    )  # fmt: skip

    def go(data: bytes) -> None:
        try:
            request = renderer_pb2.RenderSegmentRequest.FromString(data)
        except DecodeError:
            return
        for parse in (
            lambda: wire.named(request.avatar_version, request.bundle),
            lambda: wire.check_options(request.video_options, "a"),
            lambda: wire.segment_features(request),
            lambda: artifact_ref(request.bundle),
        ):
            with contextlib.suppress(SyncTalkError):
                parse()

    fuzzed(damaged(good.SerializeToString()), go)


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_tracks_of_blendshapes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"good{suffix}"
    if suffix == ".csv":
        path.write_text(",".join(ARKIT_NAMES[:3]) + "\n" + "0.1,0.2,0.3\n" * 5)
    else:
        np.savez(path, blendshapes=np.zeros((2, 52), np.float32))
    good, bad = path.read_bytes(), tmp_path / f"bad{suffix}"

    def go(data: bytes) -> None:
        bad.write_bytes(data)
        with contextlib.suppress(InputError):
            assert read_blendshapes(bad, 4).shape == (4, 52)

    fuzzed(damaged(good), go)
