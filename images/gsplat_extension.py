"""Compile gsplat's CUDA sources into its package, so that no compiler is needed at run time.

gsplat looks for ``gsplat.csrc`` first and compiles by itself only where nvcc is. Runs in the venv
of an image that has nvcc, while it is built; ``TORCH_CUDA_ARCH_LIST`` says for which GPUs.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch.utils.cpp_extension import load

NAME = "csrc"


def main() -> None:
    """Compile; ends with what is wrong where compiler and torch do not fit."""
    said = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release (\d+\.\d+)", said)
    if found is None or torch.version.cuda != found[1]:
        compiler = found[1] if found else "?"
        sys.exit(
            f"torch {torch.__version__} is made for CUDA {torch.version.cuda}, and nvcc is "
            f"{compiler}: choose CUDA and TORCH_INDEX that go together (--build-arg)."
        )
    spec = importlib.util.find_spec("gsplat")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    cuda = package / "cuda"
    with tempfile.TemporaryDirectory() as folder:
        load(
            NAME,
            [str(path) for path in (*cuda.glob("csrc/*.cu"), *cuda.glob("csrc/*.cpp"))]
            + [str(cuda / "ext.cpp")],
            extra_cflags=["-O3", "-Wno-attributes"],
            extra_cuda_cflags=["-O3", "-use_fast_math"],
            extra_include_paths=[str(cuda / "include"), str(cuda / "csrc" / "third_party" / "glm")],
            build_directory=folder,
            is_python_module=False,
            verbose=True,
        )
        shutil.copy(Path(folder) / f"{NAME}.so", package / f"{NAME}.so")


if __name__ == "__main__":
    main()
