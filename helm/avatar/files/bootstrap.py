"""After an installation: the bucket, its lifecycle rules, and the first API key in a Secret.

Runs in the gateway's image, as often as one likes: what is there stays.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.error import InvalidResponseError, S3Error
from minio.lifecycleconfig import (
    AbortIncompleteMultipartUpload,
    Expiration,
    LifecycleConfig,
    Rule,
)
from urllib3.exceptions import HTTPError

ACCOUNT = Path(os.environ.get("BOOTSTRAP_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
API = os.environ.get("BOOTSTRAP_KUBERNETES", "https://kubernetes.default.svc")
WAIT_S = 2.0
CALL_S = 10.0


def main() -> None:
    """Do all of it, waiting for what has not started yet."""
    deadline = time.monotonic() + float(os.environ["BOOTSTRAP_TIMEOUT_S"])
    days = int(os.environ["BOOTSTRAP_EXPIRE_DAYS"])
    insist("object store", deadline, lambda: make_bucket(days))
    if tenant := os.environ["BOOTSTRAP_TENANT"]:
        insist("first API key", deadline, lambda: make_key(tenant))


def insist(what: str, deadline: float, do: Any) -> None:
    """Try until it works; a server that says no for good is believed at the deadline."""
    while True:
        try:
            print(f"{what}: {do()}", flush=True)
            return
        except (OSError, HTTPError, S3Error, InvalidResponseError) as error:
            if time.monotonic() > deadline:
                sys.exit(f"{what}: {error}. Look at the log of that server.")
            print(f"{what}: not yet ({error})", flush=True)
            time.sleep(WAIT_S)


def make_bucket(days: int) -> str:
    """The bucket and what expires in it."""
    scheme, _, host = os.environ["AVATAR_STORAGE__URL"].partition("://")
    bucket = os.environ["AVATAR_STORAGE__BUCKET"]
    client = Minio(
        host,
        access_key=os.environ["AVATAR_STORAGE__ACCESS_KEY"],
        secret_key=os.environ["AVATAR_STORAGE__SECRET_KEY"],
        region=os.environ["AVATAR_STORAGE__REGION"],
        secure=scheme == "https",
    )
    if not client.bucket_exists(bucket):
        client.make_bucket(bucket)
    try:
        client.set_bucket_lifecycle(bucket, lifecycle(days))
    except (S3Error, InvalidResponseError) as error:
        # The bundled server has no such thing; nor may this key be allowed to.
        return f"bucket {bucket} is there; WITHOUT lifecycle rules, the server refused ({error})"
    return f"bucket {bucket} is there, tmp/ and broken uploads expire after {days} days"


def lifecycle(days: int) -> LifecycleConfig:
    """What is left lying about goes; nothing else does."""
    return LifecycleConfig(
        [
            Rule(
                ENABLED,
                rule_filter=Filter(prefix="tmp/"),
                rule_id="tmp",
                expiration=Expiration(days=days),
            ),
            Rule(
                ENABLED,
                rule_filter=Filter(prefix=""),
                rule_id="broken-uploads",
                abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(
                    days_after_initiation=days
                ),
            ),
        ]
    )


def make_key(tenant: str) -> str:
    """An admin key of the tenant, shown to nobody but the Secret."""
    name = os.environ["BOOTSTRAP_SECRET"]
    namespace = (ACCOUNT / "namespace").read_text().strip()
    secrets = f"{API}/api/v1/namespaces/{namespace}/secrets"
    account = f"Bearer {(ACCOUNT / 'token').read_text().strip()}"
    if call("GET", f"{secrets}/{name}", account, missing_ok=True) is not None:
        return f"secret {name} is there"
    operator = f"Bearer {os.environ['AVATAR_BOOTSTRAP_KEY']}"
    asked = {"name": "bootstrap", "role": "admin", "tenant": tenant}
    made = call("POST", f"{os.environ['BOOTSTRAP_GATEWAY']}/v1/keys", operator, asked)
    assert made is not None
    values = {"key": made["key"], "tenant": tenant}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "Opaque",
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in values.items()},
    }
    call("POST", secrets, account, secret)
    return f"made, in secret {name}"


def call(
    method: str, url: str, authorization: str, body: Any = None, *, missing_ok: bool = False
) -> Any:
    """One request with JSON in and out; None for what is not there."""
    authority = ACCOUNT / "ca.crt"
    context = ssl.create_default_context()
    if url.startswith(API) and authority.is_file():
        context = ssl.create_default_context(cafile=str(authority))
    request = urllib.request.Request(
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": authorization, "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=CALL_S, context=context) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if missing_ok and error.code == 404:
            return None
        raise


if __name__ == "__main__":
    main()
