"""Errors of the services, grown on the tree of :mod:`synctalk.errors`.

    SyncTalkError
    └── ServiceError
        ├── ConfigurationError    a setting is missing or wrong; the process must not start
        ├── Unauthenticated       no valid credentials
        ├── PermissionDenied      valid credentials that do not suffice
        ├── NotFound              no such resource, or it belongs to somebody else
        ├── AlreadyExists         the name is taken
        ├── Conflict              somebody else was first; read again and decide
        ├── FailedPrecondition    the resource is not in the state that this needs
        ├── ResourceExhausted     a quota, limit or size is used up
        ├── DeadlineExceeded      it took longer than the caller gave it
        ├── Unavailable           try again later
        └── CorruptData           stored bytes are not the bytes that were stored

:mod:`services.common.rpc.errors` maps them to gRPC status codes and back.
"""

from __future__ import annotations

from synctalk.errors import SyncTalkError


class ServiceError(SyncTalkError):
    """An error of the suite around the method."""


class ConfigurationError(ServiceError):
    """A setting is missing or wrong; the process must not start."""

    exit_code = 2


class Unauthenticated(ServiceError):
    """No valid credentials came with the request."""

    exit_code = 7


class PermissionDenied(ServiceError):
    """The credentials are valid and do not suffice."""

    exit_code = 7


class NotFound(ServiceError):
    """No such resource, or none that the caller may know of."""

    exit_code = 3


class AlreadyExists(ServiceError):
    """The name is taken."""

    exit_code = 3


class Conflict(ServiceError):
    """Somebody else changed the resource first."""

    exit_code = 3


class FailedPrecondition(ServiceError):
    """The resource is not in the state that the request needs."""

    exit_code = 3


class ResourceExhausted(ServiceError):
    """A quota, rate or size limit is used up."""

    exit_code = 7


class DeadlineExceeded(ServiceError):
    """The work took longer than its caller gave it."""

    exit_code = 6


class Unavailable(ServiceError):
    """A server cannot be reached or is overloaded; the same request may succeed later."""

    exit_code = 6


class CorruptData(ServiceError):
    """Stored bytes are not the bytes that were stored."""
