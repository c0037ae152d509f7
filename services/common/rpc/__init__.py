"""gRPC as every service speaks it.

Server side: :class:`Service`, :func:`serve`. Client side: :func:`open_channel` and
:func:`remote_errors`. An error raised by a servicer is raised again, as the same class with the
same reason and remedy, in the caller.
"""

from services.common.rpc.client import open_channel
from services.common.rpc.errors import remote_errors
from services.common.rpc.server import RpcServer, Service, serve
from services.common.rpc.tracing import configure_tracing

__all__ = ["RpcServer", "Service", "configure_tracing", "open_channel", "remote_errors", "serve"]
