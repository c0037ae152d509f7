"""Resource names: paths such as ``tenants/acme/avatars/ann``. Their form is in types.proto."""

from __future__ import annotations

from services.common.errors import NotFound
from services.common.jobs.model import check_name
from synctalk.errors import InputError


def parse_name(field: str, name: str, *collections: str) -> tuple[str, ...]:
    """The ids in ``name``: of ``tenants/acme/avatars/ann`` with its two collections, acme and ann.

    Raises:
        InputError: naming ``field`` when the name has another form.
    """
    parts = name.split("/")
    if tuple(parts[::2]) != collections or len(parts) != 2 * len(collections):
        form = "/".join(f"{collection}/{{id}}" for collection in collections)
        raise InputError(
            f"{field} is {name!r}, not a name of the form {form}",
            reason="INVALID_NAME",
            remedy=f"Set {field} to a whole resource name.",
        )
    return tuple(check_name(field, part) for part in parts[1::2])


def versions_key(avatar: str) -> str:
    """Where Redis has the numbers of an avatar's versions, which trainers give: by its name."""
    return f"versions:{{{avatar}}}"


def check_owned(field: str, path: str, tenant: str) -> str:
    """``path``, a resource name or an object key, if it lies under the tenant's.

    Raises:
        NotFound: it is somebody else's, of which nobody else hears that it exists.
    """
    steps = path.split("/")  # an empty one or ".." may lead elsewhere where paths are tidied
    if steps[:2] != ["tenants", tenant] or len(steps) < 3 or {"", ".", ".."} & set(steps):
        raise NotFound(
            f"{field}: {path!r} is not there",
            reason="NOT_FOUND",
            remedy=f"Name something of tenants/{tenant}.",
        )
    return path
