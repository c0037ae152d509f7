"""What the CUDA backend says where it cannot work; that it works is tried in tests/gpu."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from synctalk.errors import BackendError
from synctalk.render import _cuda


def test_kernels_that_nobody_can_build_are_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = ModuleType("gsplat.cuda._backend")
    vars(backend)["_C"] = None  # as gsplat leaves it where there is no compiler
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", backend)
    with pytest.raises(BackendError, match="no CUDA compiler") as error:
        _cuda._gsplat()
    assert error.value.reason == "GSPLAT_NOT_BUILT"
    assert "nvcc" in error.value.remedy


def test_kernels_that_fail_to_build_are_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = ModuleType("gsplat.cuda._backend")  # has no kernels: importing them fails
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", broken)
    with pytest.raises(BackendError, match="cannot be built") as error:
        _cuda._gsplat()
    assert error.value.__cause__ is not None
