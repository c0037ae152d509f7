"""What holds everywhere in the source: no pickle, no secrets, and a threat model that is tested."""

from __future__ import annotations

import ast
import pickle
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors import SafetensorError
from safetensors.numpy import load_file

from synctalk.errors import InputError
from synctalk.expression.track_file import read_blendshapes
from synctalk.tensor_files import checked

ROOT = Path(__file__).resolve().parents[2]
CODE = (
    "synctalk",
    "services",
    "benchmarks",
    "proto",
    "docs",
    "helm",
    "images",
    "examples",
    "tests",
)
THIS = Path(__file__).relative_to(ROOT)

# Modules whose data are programs, and calls that run data.
PROGRAMS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {
    "torch.load", "torch.jit.load", "torch.hub.load", "yaml.load", "yaml.load_all",
    "yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle", "os.system", "os.popen",
    "tarfile.open", "shutil.unpack_archive", "xml.etree.ElementTree.parse", "tempfile.mktemp",
}  # fmt: skip
RUNNING = {"eval", "exec", "compile", "__import__"}
SHELL = {"shell", "allow_pickle"}  # keywords that must not be True

SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{60,}|\bglpat-[\w-]{20}"
    rb"|\bxox[abprs]-[\w-]{10,}|\bsk-[A-Za-z0-9]{20,}|\bAIza[\w-]{35}\b|\beyJ[\w-]{10,}\.eyJ"
    rb"|\bav[ks]_[\w-]{43}\b|\bwhsec_[A-Za-z0-9+/]{43}="
    rb"|://[^/\s:@{}$<>'\"]+:[^/\s:@{}$<>'\"]{6,}@"
)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def python_files() -> Iterator[Path]:
    for folder in CODE:
        for path in (ROOT / folder).rglob("*.py"):
            if "node_modules" not in path.parts and path.relative_to(ROOT) != THIS:
                yield path


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def tensors_only(keyword: ast.keyword) -> bool:
    """Whether torch's reader is told to know no classes: it then calls nothing."""
    value = keyword.value
    return keyword.arg == "weights_only" and isinstance(value, ast.Constant) and value.value is True


def dangers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name.split(".")[0] in PROGRAMS)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PROGRAMS:
            yield f"from {node.module} import"
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(dotted(each).endswith("SafeLoader") for each in given):
                continue
            if name == "torch.load" and any(map(tensors_only, node.keywords)):
                continue
            if name in CALLS or (isinstance(node.func, ast.Name) and name in RUNNING):
                yield f"{name}()"
            for keyword in node.keywords:
                given = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in SHELL and not given:
                    yield f"{name}({keyword.arg}=…)"


def test_no_data_are_run_as_programs() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {danger}"
        for path in python_files()
        for danger in dangers(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from joblib import load", "torch.load(f)", "yaml.load(f)", "eval(x)",
        "torch.load(f, weights_only=False)", "torch.load(f, weights_only=a)",
        "np.load(f, allow_pickle=True)", "np.load(f, allow_pickle=a)", "run(x, shell=True)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_is_for(code: str) -> None:
    assert list(dangers(ast.parse(code)))


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[Bomb]:
    bomb = Bomb(tmp_path / "burst")
    pickle.loads(pickle.dumps(bomb))  # it works
    assert bomb.path.exists()
    bomb.path.unlink()
    yield bomb
    assert not bomb.path.exists(), "it was unpickled"


def test_a_pickle_among_arrays_is_not_unpickled(tmp_path: Path, bomb: Bomb) -> None:
    np.savez(tmp_path / "track.npz", blendshapes=np.array([bomb], dtype=object))
    with pytest.raises(InputError):
        read_blendshapes(tmp_path / "track.npz", 3)


def test_a_pickle_in_place_of_tensors_is_not_unpickled(tmp_path: Path, bomb: Bomb) -> None:
    path = tmp_path / "avatar.safetensors"
    path.write_bytes(pickle.dumps(bomb))
    with pytest.raises(InputError):
        checked(path)
    with pytest.raises(SafetensorError):
        load_file(path)


def test_a_program_in_yaml_is_not_run(bomb: Bomb) -> None:
    """Only as the renderer's shim reads its own file."""
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(f"!!python/object/apply:builtins.open ['{bomb.path}', 'w']")


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: nothing says which files are the project's")
    return [ROOT / name.decode() for name in done.stdout.split(b"\0") if name]


def test_no_file_holds_a_secret() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()[:12].decode(errors='replace')}…"
        for path in tracked()
        if path.is_file()
        for match in SECRET.finditer(path.read_bytes())
    ]
    assert not found


def test_the_search_for_secrets_finds_some() -> None:
    for secret in (
        b"-----BEGIN EC " + b"PRIVATE KEY-----", b"avk_" + b"a" * 43, b"redis://:x@h",
        b"redis://user:" + b"hunter22@host", b"AKIA" + b"A" * 16,
    ):  # fmt: skip
        assert SECRET.search(secret) is not None or secret == b"redis://:x@h"


def test_every_threat_is_met_by_a_test_that_is_there() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| [A-Z]\d", line)]
    assert len(rows) > 30
    for row in rows:
        assert NAMED.search(row) or "no test:" in row, f"names no test: {row}"
    missing = [
        f"{path}::{name}"
        for path, name in sorted(set(NAMED.findall(text)))
        if not (ROOT / path).is_file() or name not in functions(ROOT / path)
    ]
    assert not missing


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
