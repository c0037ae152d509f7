"""Resource names and whose they are."""

from __future__ import annotations

import pytest

from services.common.errors import NotFound
from services.common.names import check_owned, parse_name
from synctalk.errors import InputError


def test_ids_are_read_from_a_name() -> None:
    assert parse_name("name", "tenants/acme/avatars/a.b-1", "tenants", "avatars") == (
        "acme",
        "a.b-1",
    )


@pytest.mark.parametrize(
    "name",
    ["", "tenants", "tenants/", "tenants/a/", "tenants/a/b", "avatars/a", "tenants/a b",
     "tenants/../x", "/tenants/a", "tenants/a/avatars/b", "tenants/" + "x" * 129],
)  # fmt: skip
def test_what_is_no_name_is_refused_with_its_field(name: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_name("parent", name, "tenants")
    assert "parent" in caught.value.message
    assert caught.value.reason == "INVALID_NAME"


@pytest.mark.parametrize(
    "path",
    [
        "tenants/acme2/x",
        "tenants/acme",
        "x/tenants/acme/x",
        "",
        "tenants/acme/../umbrella/x",
        "tenants/acme//x",
        "tenants/acme/./x",
        "/tenants/acme/x",
    ],
)
def test_what_lies_elsewhere_is_not_there(path: str) -> None:
    check_owned("key", "tenants/acme/x", "acme")
    with pytest.raises(NotFound):
        check_owned("key", path, "acme")
