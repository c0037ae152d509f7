"""The renderer on Ray Serve: a shim around the servicer, which knows nothing of Ray.

Serve's proxy speaks gRPC without TLS, sends a session's streams to the same replica, and starts and
stops replicas. It passes no error details on: of an error of ours the status code arrives, and its
reason before the message ("RENDERER_FULL: …").

The only module that imports ray.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import secrets
import signal
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.serve.metrics
import yaml
from prometheus_client import REGISTRY
from ray import serve
from ray.serve.config import AutoscalingContext
from ray.serve.grpc_util import RayServegRPCContext

from services.common import logs
from services.common.errors import Unauthenticated
from services.common.local_server import free_port
from services.common.rpc import configure_tracing
from services.common.rpc.errors import code_of
from services.common.settings import load
from services.common.storage import ObjectStore
from services.common.work_folders import WorkFolders
from services.renderer.autoscaling import LiveLoad, wanted_replicas
from services.renderer.servicer import RendererServicer
from services.renderer.settings import RendererSettings
from synctalk.errors import SyncTalkError

CONFIG = Path(__file__).with_name("serve_config.yaml")
_LATE_SHARE = "late_share"
_LOOK_S = 0.25  # between two looks whether Serve stops this replica
_OBJECT_STORE_BYTES = 100 << 20  # next to nothing lies there: segments go to object storage
_RAY_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Else Ray gives up after 30 s, which a busy machine may need.
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_raylet_start_wait_time_s": "300",
}

log = logs.logger(__name__)


class Renderer:
    """A replica. Its settings are those of the plain service, from the environment."""

    def __init__(self) -> None:
        settings = load(RendererSettings)
        logs.configure("renderer", settings.log_level)
        configure_tracing("renderer", settings.otlp_endpoint)
        self._token = settings.rpc.token.get_secret_value().encode()
        self._exits = ExitStack()
        folders = WorkFolders(settings.work_dir / "renderer")
        folders.tidy(0)  # what replicas that were killed have left
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._exits.callback(folders.remove, name)
        folder = self._exits.enter_context(folders.own(name))
        self._servicer = RendererServicer(settings, ObjectStore(settings.storage), folder)
        self._time_left_s = _shutdown_timeout_s()
        self._metrics = _Metrics()
        self._watch: asyncio.Task[None] | None = None

    async def RenderSegment(self, request: Any, grpc_context: RayServegRPCContext) -> Any:  # noqa: N802
        """See renderer.proto."""
        with self._call(grpc_context):
            return await self._servicer.RenderSegment(request, grpc_context)

    async def RenderLive(  # noqa: N802
        self, requests: Any, grpc_context: RayServegRPCContext
    ) -> AsyncIterator[Any]:
        """See renderer.proto."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._say_when_it_leaves())
        with self._call(grpc_context):
            served = self._servicer.RenderLive(requests, grpc_context)
            async with aclosing(served) as responses:
                async for response in responses:
                    yield response

    async def GetAvatar(self, request: Any, grpc_context: RayServegRPCContext) -> Any:  # noqa: N802
        """See renderer.proto."""
        with self._call(grpc_context):
            return await self._servicer.GetAvatar(request, grpc_context)

    async def WarmAvatar(self, request: Any, grpc_context: RayServegRPCContext) -> Any:  # noqa: N802
        """See renderer.proto."""
        with self._call(grpc_context):
            return await self._servicer.WarmAvatar(request, grpc_context)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What :func:`scale_by_sessions` wants to know of a replica; asked every few seconds."""
        self._metrics.publish()
        return {_LATE_SHARE: self._servicer.admission.late_share}

    def __del__(self) -> None:
        self._exits.close()

    async def _say_when_it_leaves(self) -> None:
        while not _is_stopping():
            await asyncio.sleep(_LOOK_S)
        self._servicer.leave(self._time_left_s)

    @contextmanager
    def _call(self, context: RayServegRPCContext) -> Iterator[None]:
        metadata = dict(context.invocation_metadata())
        request_id = metadata.get("x-request-id")
        try:
            self._check_token(metadata.get("authorization", ""))
            yield
        except SyncTalkError as error:
            message = error.message
            log.info("call failed", reason=error.reason, error=message, request_id=request_id)
            context.set_code(code_of(error))
            context.set_details(f"{error.reason}: {message}")
            raise

    def _check_token(self, shown: str) -> None:
        if not hmac.compare_digest(shown.encode(), b"Bearer " + self._token):
            raise Unauthenticated(
                "the call shows no valid token",
                reason="INVALID_TOKEN",
                remedy="Give every service the same AVATAR_RPC__TOKEN.",
            )


class _Metrics:
    """The process's own metrics, shown where Ray shows those of replicas (as ray_synctalk_…).

    All of them as gauges, which is what a value taken over from elsewhere is; rates and quantiles
    are computed of them as of counters.
    """

    def __init__(self) -> None:
        self._gauges: dict[str, serve.metrics.Gauge] = {}

    def publish(self) -> None:
        for family in REGISTRY.collect():
            if family.name.startswith("synctalk_"):
                for sample in family.samples:
                    self._gauge(sample.name, family.documentation, tuple(sample.labels)).set(
                        sample.value, tags=sample.labels
                    )

    def _gauge(self, name: str, text: str, labels: tuple[str, ...]) -> serve.metrics.Gauge:
        if name not in self._gauges:
            self._gauges[name] = serve.metrics.Gauge(name, text, labels)
        return self._gauges[name]


def scale_by_sessions(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """Serve's autoscaling policy: :func:`wanted_replicas`; Serve adds its limits and delays."""
    late = (context.aggregated_metrics or {}).get(_LATE_SHARE, {})
    measured = LiveLoad(
        context.current_num_replicas, context.total_num_requests, max(late.values(), default=0.0)
    )
    return wanted_replicas(measured, context.config.get_target_ongoing_requests()), {}


_DEPLOYMENT = serve.deployment(name="renderer")(Renderer)
app = _DEPLOYMENT.bind()


def run_here(settings: RendererSettings) -> None:
    """Serve on this machine until SIGTERM or SIGINT; a line of JSON on stdout says on which port.

    Everything that Ray starts ends with this process, however it ends.
    """
    stop = threading.Event()
    os.environ.update(_RAY_VARIABLES, RAY_AUTH_TOKEN=secrets.token_hex(32))
    port = settings.rpc.port or free_port()
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=settings.renderer_max_replicas,
            object_store_memory=_OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=settings.log_level,
            _temp_dir=folder,
        )
        for number in (signal.SIGTERM, signal.SIGINT):  # not before Ray, which sets its own
            signal.signal(number, lambda *_: stop.set())
        try:
            name = _deploy(settings, port)
            print(json.dumps({"port": port, "metrics_port": None}), flush=True)
            stop.wait()
            serve.delete(name)  # first, while the proxy lives, so that sessions can leave
            serve.shutdown()
        finally:
            ray.shutdown()


def _deploy(settings: RendererSettings, port: int) -> str:
    """What the file says, on this machine's ports and with its number of replicas; its name."""
    config = yaml.safe_load(CONFIG.read_text())
    (application,) = config["applications"]
    (options,) = application["deployments"]
    options["autoscaling_config"] |= {
        "min_replicas": settings.renderer_min_replicas,
        "max_replicas": settings.renderer_max_replicas,
    }
    options["graceful_shutdown_timeout_s"] = settings.rpc.drain_s
    http = {"host": settings.rpc.host, "port": free_port()}
    serve.start("HeadOnly", http, grpc_options={**config["grpc_options"], "port": port})
    deployment = _DEPLOYMENT.options(**options)
    name: str = application["name"]
    serve.run(deployment.bind(), name=name, route_prefix=application["route_prefix"])
    return name


def _shutdown_timeout_s() -> float:
    deployment = serve.get_replica_context()._deployment_config
    return float(deployment.graceful_shutdown_timeout_s)


def _is_stopping() -> bool:
    """Whether Serve has told this replica to stop. It says so to nobody else."""
    (replica,) = ray._private.worker.global_worker.actors.values()
    return bool(replica._replica_impl._shutting_down)
