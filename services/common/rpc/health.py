"""Whether a gRPC server says that it is well."""

from __future__ import annotations

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.rpc.client import open_channel
from services.common.settings import RpcSettings


def health(target: str, settings: RpcSettings, timeout_s: float = 5.0) -> str:
    """``"SERVING"``, or in what state it is, or why it cannot be reached."""
    return asyncio.run(_health(target, settings, timeout_s))


async def _health(target: str, settings: RpcSettings, timeout_s: float) -> str:
    async with open_channel(target, settings) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
