"""What a refused attack must look like."""

from __future__ import annotations

import re

import httpx

_CODE = re.compile(r"[A-Z][A-Z0-9_]+")


def refused(answer: httpx.Response, *statuses: int) -> dict[str, str]:
    """The error of an answer, which is whole, in the promised form and no 500."""
    assert answer.status_code in (statuses or range(400, 500)), answer.text[:500]
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}, body
    error: dict[str, str] = body["error"]
    assert set(error) == {"code", "message", "param", "remedy", "request_id"}
    assert _CODE.fullmatch(error["code"]), error
    assert error["message"], error
    assert error["remedy"], error
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    return error
