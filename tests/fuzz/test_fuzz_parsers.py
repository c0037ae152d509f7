"""What reads untrusted or stored bytes in a process of ours, on anything at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_report import INPUTS, SEED
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mutate import mutated
from pydantic import ValidationError
from safetensors.numpy import save

from services.common.artifacts import _Listing
from services.common.errors import CorruptData
from services.common.names import parse_name
from services.common.storage import check_key
from services.gateway.delivery import Refused, _public, check_url
from services.gateway.errors import ParamError
from services.gateway.live.news import Failed, obey
from services.gateway.records import parse_token
from synctalk.bundle import BundleManifest
from synctalk.errors import InputError, SyncTalkError
from synctalk.expression.track_file import read_track
from synctalk.media import MediaLimits
from synctalk.media.audio import _read_plain_wav, write_wav
from synctalk.media.sandbox import Request, _message

fuzzed = settings(
    max_examples=INPUTS, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """``good`` with damage, or anything."""
    other = [good, b"\x00" * 64, b"{}" * 32]
    changed = st.integers().map(lambda n: mutated(good, other, random.Random(f"{SEED}/{n}")))
    return changed | st.binary(max_size=2000)


def test_wav(tmp_path: Path) -> None:
    write_wav(tmp_path / "good.wav", np.zeros(400, np.float32))
    path = tmp_path / "bad.wav"

    @seed(SEED)
    @fuzzed
    @given(damaged((tmp_path / "good.wav").read_bytes()))
    def go(data: bytes) -> None:
        path.write_bytes(data)
        wav = _read_plain_wav(path, 16_000, 10.0)
        assert wav is None or len(wav) <= 160_000

    go()
