"""The bootstrap job and `helm test`, run as they stand against a real gateway, Redis and S3 server.

Kubernetes itself is the one thing that is played: its two calls about Secrets.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from chart_render import CHART, pods, render

from services.common.local import LocalServers
from services.common.settings import StorageSettings
from services.common.storage import ObjectStore

BOOTSTRAP_KEY = "avk_operator_operator_operator"
UNKNOWN = "127.0.0.1:1"


@dataclass
class Kubernetes:
    """The secrets of one namespace."""

    secrets: dict[str, Any] = field(default_factory=dict)
    url: str = ""

    def start(self) -> ThreadingHTTPServer:
        played = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = played.secrets.get(self.path.rpartition("/")[2])
                self._answer(200 if found else 404, found or {"code": 404})

            def do_POST(self) -> None:
                assert self.headers["Authorization"] == "Bearer account-token"
                assert self.path == "/api/v1/namespaces/talking/secrets"
                made = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                played.secrets[made["metadata"]["name"]] = made
                self._answer(201, made)

            def _answer(self, status: int, body: Any) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


@dataclass(frozen=True)
class Installation:
    """What the jobs find when they run."""

    environment: dict[str, str]
    gateway: str
    kubernetes: Kubernetes
    account: Path

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(CHART / "files" / script)],
            env={**os.environ, **self.environment, **variables},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def bootstrap(self, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            "bootstrap.py",
            **{
                "BOOTSTRAP_GATEWAY": self.gateway,
                "BOOTSTRAP_TENANT": "faces",
                "BOOTSTRAP_SECRET": "first-key",
                "BOOTSTRAP_EXPIRE_DAYS": "2",
                "BOOTSTRAP_TIMEOUT_S": "60",
                "BOOTSTRAP_ACCOUNT": str(self.account),
                "BOOTSTRAP_KUBERNETES": self.kubernetes.url,
                **variables,
            },
        )


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    account = folder / "account"
    account.mkdir()
    (account / "namespace").write_text("talking")
    (account / "token").write_text("account-token\n")
    kubernetes = Kubernetes()
    api = kubernetes.start()
    with LocalServers.start(folder / "servers") as servers:
        state = servers.state
        environment = {
            "AVATAR_STORAGE__URL": state.s3_url,
            "AVATAR_STORAGE__BUCKET": "made-by-the-job",
            "AVATAR_STORAGE__REGION": "us-east-1",
            "AVATAR_STORAGE__ACCESS_KEY": state.access_key,
            "AVATAR_STORAGE__SECRET_KEY": state.secret_key,
            "AVATAR_REDIS_URL": state.redis_url,
            "AVATAR_RPC__TOKEN": "token-token-token",
            "AVATAR_BOOTSTRAP_KEY": BOOTSTRAP_KEY,
            "AVATAR_PREPROCESS_TARGET": UNKNOWN,
            "AVATAR_TRAINER_TARGET": UNKNOWN,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "services.gateway"],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            yield Installation(environment, f"http://127.0.0.1:{port}", kubernetes, account)
        finally:
            process.kill()
            process.wait()
            api.shutdown()
            api.server_close()


def _me(installation: Installation, key: str) -> Any:
    request = urllib.request.Request(
        f"{installation.gateway}/v1/me", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_bootstrap_makes_the_bucket_and_the_first_key_and_is_content_with_both(
    installation: Installation,
) -> None:
    done = installation.bootstrap()
    assert done.returncode == 0, done.stdout + done.stderr
    secret = installation.kubernetes.secrets["first-key"]
    key = base64.b64decode(secret["data"]["key"]).decode()
    assert base64.b64decode(secret["data"]["tenant"]) == b"faces"
    me = _me(installation, key)
    assert (me["tenant"], me["role"]) == ("faces", "admin")
    assert key not in done.stdout + done.stderr
    assert BOOTSTRAP_KEY not in done.stdout + done.stderr
    # The S3 server here has no lifecycle rules: that is said, and is no failure.
    assert "WITHOUT lifecycle rules" in done.stdout
    environment = installation.environment
    store = ObjectStore(
        StorageSettings(
            url=environment["AVATAR_STORAGE__URL"],
            access_key=environment["AVATAR_STORAGE__ACCESS_KEY"],
            secret_key=environment["AVATAR_STORAGE__SECRET_KEY"],
            bucket="made-by-the-job",
        )
    )
    assert store.put_bytes("tmp/there", b"1").size_bytes == 1

    again = installation.bootstrap()
    assert again.returncode == 0, again.stdout + again.stderr
    assert "secret first-key is there" in again.stdout
    assert installation.kubernetes.secrets["first-key"] == secret


def test_bootstrap_gives_up_with_a_reason(installation: Installation) -> None:
    done = installation.bootstrap(
        BOOTSTRAP_GATEWAY="http://127.0.0.1:1", BOOTSTRAP_SECRET="other", BOOTSTRAP_TIMEOUT_S="0"
    )
    assert done.returncode == 1
    assert "first API key" in done.stderr
    assert "other" not in installation.kubernetes.secrets


def test_the_lifecycle_rules_touch_what_is_left_lying_about_and_nothing_else() -> None:
    sys.path.insert(0, str(CHART / "files"))
    try:
        from bootstrap import lifecycle
    finally:
        sys.path.pop(0)
    rules = {rule.rule_id: rule for rule in lifecycle(3).rules}
    assert rules["tmp"].rule_filter.prefix == "tmp/"
    assert rules["tmp"].expiration.days == 3
    assert rules["broken-uploads"].expiration is None
    upload = rules["broken-uploads"].abort_incomplete_multipart_upload
    assert upload.days_after_initiation == 3


def test_helm_test_names_who_is_not_well(installation: Installation) -> None:
    well = installation.run(
        "check.py", CHECK_GATEWAY=installation.gateway, CHECK_HEALTHY="", CHECK_REACHABLE=""
    )
    assert (well.returncode, well.stdout) == (0, "gateway: SERVING\n")
    ill = installation.run(
        "check.py",
        CHECK_GATEWAY=installation.gateway,
        CHECK_HEALTHY=f"dns:///{UNKNOWN}",
        CHECK_REACHABLE=UNKNOWN,
    )
    assert ill.returncode == 1
    assert f"dns:///{UNKNOWN}: UNAVAILABLE" in ill.stdout
    assert f"\n{UNKNOWN}: [Errno" in ill.stdout


@pytest.mark.parametrize("case", ["default", "ray", "values-production.yaml"])
def test_the_jobs_are_told_all_that_their_scripts_ask_for(case: str) -> None:
    told = {
        pod.part: {variable["name"] for variable in pod.containers[0]["env"]}
        for pod in pods(render(case))
        if pod.part in ("bootstrap", "test")
    }
    for part, script in (("bootstrap", "bootstrap.py"), ("test", "check.py")):
        text = (CHART / "files" / script).read_text()
        asked = set(re.findall(r'os\.environ\["(\w+)"\]', text))
        assert asked
        assert asked <= told[part]
    assert "AVATAR_RPC__TOKEN" in told["test"]
