"""gRPC between real processes: who may call, what an error becomes, how a server ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import trustme
import urllib3
from collector import collecting
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from services.common import errors, logs
from services.common.rpc import open_channel, remote_errors
from services.common.settings import RpcSettings, TlsSettings
from synctalk import errors as method_errors
from synctalk.errors import InputError, SyncTalkError

T = TypeVar("T")
PROBE = Path(__file__).with_name("probe_server.py")
TOKEN = "a token that all services share"
RPC = RpcSettings(token=SecretStr(TOKEN))
ALL_ERRORS = [
    kind.__name__
    for module in (errors, method_errors)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, SyncTalkError)
]


@dataclass
class Running:
    process: subprocess.Popen[str]
    port: int
    metrics: int
    log_path: Path

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def metric(self, name: str, **labels: str) -> float:
        page = urllib3.request("GET", f"http://127.0.0.1:{self.metrics}/metrics").data.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@contextmanager
def probe(folder: Path, **settings: str) -> Iterator[Running]:
    environment = {
        **os.environ,
        "AVATAR_STORAGE__URL": "http://127.0.0.1:1",
        "AVATAR_STORAGE__ACCESS_KEY": "none",
        "AVATAR_STORAGE__SECRET_KEY": "none",
        "AVATAR_REDIS_URL": "redis://127.0.0.1:1",
        "AVATAR_RPC__TOKEN": TOKEN,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        **{f"AVATAR_{name}": value for name, value in settings.items()},
    }
    log_path = folder / f"probe{len(list(folder.iterdir()))}.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(PROBE)],
            stdout=subprocess.PIPE, stderr=log, env=environment, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log_path.read_text()
        ready = json.loads(line)
        yield Running(process, ready["port"], ready["metrics"], log_path)
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with probe(tmp_path_factory.mktemp("probe")) as running:
        yield running


def on(
    target: str, work: Callable[[grpc.aio.Channel], Awaitable[T]], settings: RpcSettings = RPC
) -> T:
    """Run ``work`` with a channel of ours, raising our errors."""

    async def session() -> T:
        async with open_channel(target, settings) as channel:
            with remote_errors():
                return await work(channel)

    return asyncio.run(session())


def ask(target: str, request: str, settings: RpcSettings = RPC, timeout: float = 20) -> str:
    async def work(channel: grpc.aio.Channel) -> str:
        call: Any = channel.unary_unary("/test.Probe/unary_unary")
        answer: bytes = await call(request.encode(), timeout=timeout)
        return answer.decode()

    return on(target, work, settings)


async def stream(*requests: str) -> AsyncIterator[bytes]:
    for request in requests:
        yield request.encode()


async def call_kind(channel: grpc.aio.Channel, kind: str, request: str) -> list[bytes]:
    call: Any = getattr(channel, kind)(f"/test.Probe/{kind}")
    given = stream("echo", request) if kind.startswith("stream") else request.encode()
    if kind.endswith("_unary"):
        return [await call(given, timeout=20)]
    return [answer async for answer in call(given, timeout=20)]


KINDS = {
    "unary_unary": [b"hello"],
    "unary_stream": [b"0", b"1", b"2", b"hello"],
    "stream_unary": [b"2"],
    "stream_stream": [b"", b"hello"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_answers_and_is_counted(server: Running, kind: str) -> None:
    labels = {"grpc_type": kind, "grpc_service": "test.Probe", "grpc_method": kind}
    ended = server.metric("grpc_server_handled_total", grpc_code="OK", **labels)
    sent = server.metric("grpc_server_msg_sent_total", **labels)
    received = server.metric("grpc_server_msg_received_total", **labels)

    answers = on(server.target, lambda channel: call_kind(channel, kind, "echo hello"))

    assert answers == KINDS[kind]
    assert server.metric("grpc_server_handled_total", grpc_code="OK", **labels) == ended + 1
    assert server.metric("grpc_server_msg_sent_total", **labels) == sent + len(answers)
    asked = 2 if kind.startswith("stream") else 1
    assert server.metric("grpc_server_msg_received_total", **labels) == received + asked
    assert server.metric("grpc_server_handling_seconds_count", **labels) >= 1
    assert server.metric("grpc_server_in_flight", **labels) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_raises_at_the_caller_what_was_raised(server: Running, kind: str) -> None:
    labels = {"grpc_method": kind, "grpc_code": "ABORTED"}
    before = server.metric("grpc_server_handled_total", **labels)
    with pytest.raises(errors.Conflict, match=r"frame 7 of me.mp4") as caught:
        on(server.target, lambda channel: call_kind(channel, kind, "raise Conflict"))
    assert (caught.value.reason, caught.value.remedy) == ("TEST_REASON", "Film anew — ä.")
    # The caller may hear of it first.
    wait_for(lambda: server.metric("grpc_server_handled_total", **labels) == before + 1)


@pytest.mark.parametrize("name", ALL_ERRORS)
def test_every_error_makes_the_journey(server: Running, name: str) -> None:
    with pytest.raises(SyncTalkError) as caught:
        ask(server.target, f"raise {name}")
    assert type(caught.value).__name__ == name
    assert caught.value.message == "frame 7 of me.mp4 is wrong."
    assert (caught.value.reason, caught.value.remedy) == ("TEST_REASON", "Film anew — ä.")


def test_an_error_survives_two_hops(server: Running, tmp_path: Path) -> None:
    with (
        probe(tmp_path, NEXT_TARGET=server.target) as first,
        pytest.raises(method_errors.FootageError) as caught,
    ):
        ask(first.target, "forward raise FootageError")
    assert caught.value.reason == "TEST_REASON"


def test_a_crash_says_nothing_to_the_caller_and_all_to_the_log(server: Running) -> None:
    with logs.request_scope("crash-1"), pytest.raises(errors.ServiceError) as caught:
        ask(server.target, "crash")
    assert caught.value.reason == "INTERNAL"
    assert "secret detail" not in str(caught.value)
    assert "crash-1" in caught.value.message
    (line,) = [line for line in server.log() if line.get("request_id") == "crash-1"
               and line["level"] == "error"]  # fmt: skip
    assert "ZeroDivisionError: secret detail" in line["exception"]


def test_a_request_id_goes_through_two_hops_into_both_logs(tmp_path: Path) -> None:
    with probe(tmp_path) as second, probe(tmp_path, NEXT_TARGET=second.target) as first:
        with logs.request_scope("req-77"):
            assert ask(first.target, "forward") == "req-77"
        assert len(ask(first.target, "forward")) == 32  # a fresh one where there was none
        for running in (first, second):
            lines = [line for line in running.log() if line.get("event") == "doing"]
            assert lines[0]["request_id"] == "req-77"
            assert lines[0]["service"] == "probe"


@pytest.mark.parametrize("token", ["", "another token", TOKEN + "x"])
def test_a_wrong_token_is_refused(server: Running, token: str) -> None:
    with pytest.raises(errors.Unauthenticated) as caught:
        ask(server.target, "echo", RPC.model_copy(update={"token": SecretStr(token)}))
    assert caught.value.reason == "INVALID_TOKEN"
    assert TOKEN not in server.log_path.read_text()


def test_a_call_without_a_deadline_is_refused(server: Running) -> None:
    async def work(channel: grpc.aio.Channel) -> Any:
        call: Any = channel.unary_unary("/test.Probe/unary_unary")
        return await call(b"echo")

    with pytest.raises(InputError) as caught:
        on(server.target, work)
    assert caught.value.reason == "DEADLINE_REQUIRED"
    with pytest.raises(InputError):
        ask(server.target, "echo", timeout=100_000)


def test_a_deadline_ends_the_call_on_both_sides(server: Running) -> None:
    with pytest.raises(errors.DeadlineExceeded):
        ask(server.target, "wait /nowhere", timeout=0.3)
    running = {"grpc_method": "unary_unary"}
    wait_for(lambda: server.metric("grpc_server_in_flight", **running) == 0)


def test_a_service_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
            ask(f"127.0.0.1:{unused.getsockname()[1]}", "echo", timeout=10)


def test_health_and_reflection_answer_without_a_token(server: Running) -> None:
    with grpc.insecure_channel(server.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "test.Probe"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=10)
        names = {service.name for service in answer.list_services_response.service}
        assert {"test.Probe", "grpc.health.v1.Health"} <= names


async def admits(target: str) -> bool:
    """Whether a new caller would be sent here."""
    async with grpc.aio.insecure_channel(target) as channel:
        check: Any = health_pb2_grpc.HealthStub(channel).Check
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_sigterm_lets_a_running_stream_finish_and_takes_no_new_calls(tmp_path: Path) -> None:
    release = tmp_path / "release"

    async def work(running: Running) -> list[bytes]:
        async with open_channel(running.target, RPC) as channel:
            start: Any = channel.unary_stream("/test.Probe/unary_stream")
            call = start(f"wait {release}".encode(), timeout=60)
            answers = [await call.read() for _ in range(3)]
            running.process.send_signal(signal.SIGTERM)
            while await admits(running.target):
                pass
            release.touch()
            answers.append(await call.read())
            assert await call.read() is grpc.aio.EOF
            return answers

    with logs.request_scope("drain-1"), probe(tmp_path) as running:
        answers = asyncio.run(work(running))
        assert answers == [b"0", b"1", b"2", b"drain-1"]
        assert running.process.wait(20) == 0
        events = [line["event"] for line in running.log()]
        assert [event for event in events if event != "doing"][-2:] == ["draining", "stopped"]


def test_sigterm_cuts_off_what_does_not_end(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        async with open_channel(running.target, RPC) as channel:
            start: Any = channel.unary_stream("/test.Probe/unary_stream")
            call = start(b"wait /nowhere", timeout=60)
            await call.read()
            running.process.send_signal(signal.SIGTERM)
            with remote_errors():
                while await call.read() is not grpc.aio.EOF:
                    pass

    with probe(tmp_path, RPC__DRAIN_S="0.2") as running:
        with pytest.raises(SyncTalkError):
            asyncio.run(work(running))
        assert running.process.wait(20) == 0


@dataclass
class Authority:
    folder: Path

    def __post_init__(self) -> None:
        self._authority = trustme.CA()
        self.folder.mkdir()

    def issue(self, name: str, *hosts: str) -> TlsSettings:
        files = [self.folder / f"{name}.{end}" for end in ("pem", "key", "ca")]
        leaf = self._authority.issue_cert(*(hosts or ("127.0.0.1", "localhost")))
        leaf.cert_chain_pems[0].write_to_path(files[0])
        leaf.private_key_pem.write_to_path(files[1])
        self._authority.cert_pem.write_to_path(files[2])
        return TlsSettings(certificate=files[0], key=files[1], authority=files[2])


def test_mutual_tls_admits_only_our_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    server_tls, client_tls = authority.issue("server"), authority.issue("client")
    stranger = Authority(tmp_path / "theirs").issue("stranger")
    environment = {
        f"RPC__TLS__{name.upper()}": str(getattr(server_tls, name))
        for name in ("certificate", "key", "authority")
    }
    with probe(tmp_path, **environment) as running:
        ours = RPC.model_copy(update={"tls": client_tls})
        assert ask(running.target, "echo secure", ours) == "secure"

        # Trusts our server, and shows a certificate of somebody else, or none.
        forged = stranger.model_copy(update={"authority": client_tls.authority})
        anonymous = client_tls.model_copy(update={"mutual": False})
        for tls in (forged, anonymous, None):
            with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
                ask(running.target, "echo", RPC.model_copy(update={"tls": tls}), timeout=2)
        # Does not trust our server.
        with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
            ask(running.target, "echo", RPC.model_copy(update={"tls": stranger}), timeout=2)
        with (
            socket.create_connection(("127.0.0.1", running.port)) as raw,
            ssl.create_default_context(cafile=client_tls.authority).wrap_socket(
                raw, server_hostname="localhost"
            ) as wrapped,
        ):
            assert wrapped.version() == "TLSv1.3"


def test_a_service_takes_calls_of_the_callers_that_it_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    server_tls = authority.issue("server")
    environment = {
        f"RPC__TLS__{name.upper()}": str(getattr(server_tls, name))
        for name in ("certificate", "key", "authority")
    }
    environment["RPC__TLS__CALLERS"] = json.dumps(["gateway.internal", "dubbing.internal"])
    with probe(tmp_path, **environment) as running:
        for name in ("gateway", "dubbing"):
            tls = authority.issue(name, f"{name}.internal")
            settings = RPC.model_copy(update={"tls": tls})
            assert ask(running.target, "echo secure", settings) == "secure"
        tls = authority.issue("trainer", "trainer.internal", "127.0.0.1")
        with pytest.raises(errors.PermissionDenied) as refused:
            ask(running.target, "echo", RPC.model_copy(update={"tls": tls}))
        assert refused.value.reason == "CALLER_NOT_ALLOWED"


def test_a_peer_called_by_its_address_may_show_a_name_that_all_peers_have(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    server_tls = authority.issue("server", "peers.internal")
    client_tls = authority.issue("client", "peers.internal")
    environment = {
        f"RPC__TLS__{name.upper()}": str(getattr(server_tls, name))
        for name in ("certificate", "key", "authority")
    }
    with probe(tmp_path, **environment) as running:
        named = client_tls.model_copy(update={"server_name": "peers.internal"})
        settings = RPC.model_copy(update={"tls": named})
        assert ask(running.target, "echo secure", settings) == "secure"
        for other in ("", "others.internal"):
            wrong = client_tls.model_copy(update={"server_name": other})
            with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
                ask(running.target, "echo", RPC.model_copy(update={"tls": wrong}), timeout=2)


def test_a_trace_joins_both_hops_when_a_collector_is_named(tmp_path: Path) -> None:
    with collecting() as collector:
        traced = {"OTLP_ENDPOINT": collector.endpoint}
        with probe(tmp_path, **traced) as second:
            with probe(tmp_path, **traced, NEXT_TARGET=second.target) as first:
                assert ask(first.target, "forward echo traced") == "traced"

                async def streams(channel: grpc.aio.Channel) -> list[bytes]:
                    return await call_kind(channel, "stream_stream", "echo hello")

                assert on(first.target, streams) == KINDS["stream_stream"]
                first.process.send_signal(signal.SIGTERM)  # spans leave at exit
                assert first.process.wait(20) == 0
            second.process.send_signal(signal.SIGTERM)
            assert second.process.wait(20) == 0
    unary = [span for span in collector.spans if span.name == "/test.Probe/unary_unary"]
    assert len(unary) == 3  # served, made, served
    assert len({span.trace_id for span in unary}) == 1
    assert [span for span in collector.spans if span.name == "/test.Probe/stream_stream"]
