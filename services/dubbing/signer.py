"""Whether the installation's signer signs: asked at start, and counted when it did not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from prometheus_client import Counter

from services.common import logs
from services.common.errors import ConfigurationError
from services.common.provenance import ProvenanceSettings

log = logs.logger(__name__)

_LOADING_S = 60.0
_FAILURES = Counter(
    "synctalk_signing_failures_total", "Attempts that the signer has failed", ["reason"]
)


def check_signer(settings: ProvenanceSettings) -> None:
    """Have something signed, in a process of its own: this one shall load nothing to fork.

    Raises:
        ConfigurationError: the signer does not sign, or not by the key of its certificate.
    """
    if not settings.sign or settings.chain is None:
        return
    done = subprocess.run(
        [sys.executable, "-m", "synctalk.provenance", "--signer"],
        env={**os.environ, **settings.environment()}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, timeout=settings.sign_timeout_s + _LOADING_S, check=True,
    )  # fmt: skip
    if problem := json.loads(done.stdout).get("error"):
        raise ConfigurationError(
            problem["message"], reason=problem["reason"], remedy=problem["remedy"]
        )
    log.info("the signer signs", algorithm=settings.sign_algorithm)


def count_failure(reason: str) -> None:
    """Count an attempt that ended so, if it was the signer's fault."""
    if reason.startswith("SIGNER_"):
        _FAILURES.labels(reason).inc()
