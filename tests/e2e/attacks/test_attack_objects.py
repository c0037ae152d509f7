"""What can be done with a signed URL beyond what it was signed for, and without one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import urllib3
from attack_people import Person
from harness import Suite

from services.common.presign import presigned_put
from services.suite.storage import store

BODY = b"x" * 24
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Target:
    """A stranger's ticket, and an object of the victim's that he knows the key of."""

    url: str
    headers: dict[str, str]
    secret: str
    own: str


@pytest.fixture(scope="module")
def target(suite: Suite, victim: Person, stranger: Person) -> Target:
    ticket = stranger.tenant.api.post(
        "uploads",
        {
            "filename": "a.mp4", "content_type": "video/mp4", "size_bytes": len(BODY),
            "kind": "video",
        },
    )  # fmt: skip
    secret = f"tenants/{victim.tenant.name}/uploads/{victim.ids['audio_id']}/audio.bin"
    assert store(suite.settings).exists(secret)
    return Target(ticket["url"], ticket["headers"], secret, urlsplit(ticket["url"]).path[8:])


def send(method: str, url: str, headers: dict[str, str], body: bytes = BODY) -> int:
    return urllib3.request(method, url, body=body, headers=headers, retries=False).status


def nothing_came_of_it(suite: Suite, target: Target) -> None:
    objects = store(suite.settings)
    assert not objects.exists(target.own)
    assert objects.get_bytes(objects.reference(target.secret)) == b"not what its type says"


REWRITTEN = {
    "another tenant": ("/stranger/", "/victim/"),
    "a step up": ("/stranger/", "/stranger/../victim/"),
    "an encoded step up": ("/stranger/", "/stranger/%2e%2e/victim/"),
    "an empty part": ("/tenants/", "/tenants//"),
    "another bucket": ("/avatar/", "/other/"),
    "another name": ("a.mp4", "b.mp4"),
    "a longer life": ("X-Amz-Expires=3", "X-Amz-Expires=9"),
    "another date": ("X-Amz-Date=2", "X-Amz-Date=3"),
    "fewer signed headers": ("content-length%3Bcontent-type%3Bhost", "host"),
    "another algorithm": ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
    "no signature": ("X-Amz-Signature=", "X-Amz-Nothing="),
    "an anonymous key": ("X-Amz-Credential=", "X-Amz-Credential=anonymous"),
}


@pytest.mark.parametrize("what", REWRITTEN)
def test_a_ticket_that_was_rewritten_is_refused(suite: Suite, target: Target, what: str) -> None:
    old, new = REWRITTEN[what]
    assert old in target.url
    assert send("PUT", target.url.replace(old, new, 1), target.headers) in (400, 403, 404)
    nothing_came_of_it(suite, target)


@pytest.mark.parametrize(
    "more", ["&uploads", "&partNumber=1&uploadId=1", "&acl", "&tagging", "&versionId=1", "&x"]
)
def test_a_ticket_does_no_more_with_a_longer_query(suite: Suite, target: Target, more: str) -> None:
    assert send("PUT", target.url + more, target.headers) == 403
    nothing_came_of_it(suite, target)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST", "OPTIONS", "PATCH"])
def test_a_ticket_is_for_a_put_alone(suite: Suite, target: Target, method: str) -> None:
    assert send(method, target.url, target.headers) in (400, 403, 405)
    nothing_came_of_it(suite, target)


CHANGED = {
    "a larger size": ({"content-length": "25"}, BODY + b"x"),
    "a smaller size": ({"content-length": "23"}, BODY[1:]),
    "another type": ({"content-type": "text/html"}, BODY),
    "a copy of the victim's": ({"x-amz-copy-source": "SECRET"}, BODY),
    "a public object": ({"x-amz-acl": "public-read-write"}, BODY),
    "a redirection": ({"x-amz-website-redirect-location": "https://evil.example"}, BODY),
    "another host": ({"host": "evil.example"}, BODY),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_ticket_holds_with_its_own_headers_alone(suite: Suite, target: Target, what: str) -> None:
    headers, body = CHANGED[what]
    told = {
        name: value.replace("SECRET", f"/avatar/{target.secret}") for name, value in headers.items()
    }
    assert send("PUT", target.url, {**target.headers, **told}, body) in (400, 403)
    nothing_came_of_it(suite, target)


def test_a_ticket_of_yesterday_is_refused(suite: Suite, target: Target) -> None:
    given = suite.settings.variables
    url = presigned_put(
        target.url.partition("?")[0], region="us-east-1",
        access_key=given["AVATAR_STORAGE__ACCESS_KEY"],
        secret_key=given["AVATAR_STORAGE__SECRET_KEY"],
        now=datetime.now(UTC) - 24 * HOUR, expires=HOUR, headers=target.headers,
    )  # fmt: skip
    assert send("PUT", url, target.headers) in (400, 403)
    nothing_came_of_it(suite, target)


@pytest.mark.parametrize("path", ["", "avatar", "avatar?list-type=2&prefix=tenants/", "SECRET"])
def test_nothing_is_read_without_a_signature(suite: Suite, target: Target, path: str) -> None:
    base = suite.settings.variables["AVATAR_STORAGE__URL"]
    url = f"{base}/{path.replace('SECRET', 'avatar/' + target.secret)}"
    assert send("GET", url, {}, b"") in (400, 403)


def test_a_link_reads_one_object_under_its_name_and_does_nothing_else(
    suite: Suite, target: Target
) -> None:
    objects = store(suite.settings)
    link = objects.presigned_get(target.secret, HOUR, filename="dub.mp4")
    assert send("GET", link, {}, b"") == 200
    tried = [
        link.replace("dub.mp4", "dub.html"),
        link.replace("response-content-disposition", "response-content-type"),
        f"{link}&response-content-type=text%2Fhtml",
        link.replace(target.secret, target.own),
    ]
    assert {send("GET", url, {}, b"") for url in tried} == {403}
    assert {send(method, link, {}) for method in ("PUT", "DELETE", "POST")} == {403}
    nothing_came_of_it(suite, target)


@pytest.mark.parametrize(
    "filename",
    [
        "../../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "a\r\nX-Injected: 1", "a\x00.mp4",
        ".rclone_temp_a", "%2e%2e%2fa", "con", "a" * 255, "é\u202egpj.exe", '"; filename="b', "..",
    ],
)  # fmt: skip
def test_the_name_of_a_file_leads_nowhere(suite: Suite, stranger: Person, filename: str) -> None:
    """Whatever a file is called, it lies in its upload's own folder."""
    made = stranger.tenant.api.post(
        "uploads",
        {
            "filename": filename, "content_type": "video/mp4", "size_bytes": len(BODY),
            "kind": "video",
        },
    )  # fmt: skip
    folder = f"tenants/{stranger.tenant.name}/uploads/{made['id']}"
    assert send("PUT", made["url"], made["headers"]) == 200
    (stored,) = store(suite.settings).list(folder)
    assert stored.key.count("/") == 4
    assert len(stored.key.rpartition("/")[2]) <= 100
