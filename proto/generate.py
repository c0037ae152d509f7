"""Write the Python stubs of proto/ to services/gen, or check that they are what would be written.

``python proto/generate.py`` writes; with ``--check`` it compares, names what differs, and fails.
protoc derives Python imports from proto paths (``avatar.v1``); they are moved under
``services.gen`` so that an installed package needs no change of ``sys.path``. So are the modules
that messages say they are from, which Ray Serve looks for when it passes messages on.
"""

from __future__ import annotations

import filecmp
import re
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent
STUBS = PROTO.parent / "services" / "gen"
GOOGLE = Path(grpc_tools.__file__).parent / "_proto"
MARKER = '"""Generated from proto/ by proto/generate.py; not to be edited."""\n'
OUR_IMPORT = re.compile(r"^(from |import |_builder\.\w+\(DESCRIPTOR, ')avatar\.", re.MULTILINE)


def generate(out: Path) -> None:
    """Write the stubs of every proto file to ``out``."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("avatar/**/*.proto"))
    scripts = Path(sysconfig.get_path("scripts"))
    arguments = [
        "protoc", f"-I{PROTO}", f"-I{GOOGLE}",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        f"--python_out={out}", f"--grpc_python_out={out}",
        f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}",
        *sources,
    ]  # fmt: skip
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed")
    for path in out.rglob("*.py*"):
        path.write_text(OUR_IMPORT.sub(r"\1services.gen.avatar.", path.read_text()))
    for folder in (out, *(path for path in out.rglob("*") if path.is_dir())):
        (folder / "__init__.py").write_text(MARKER)


def differences(fresh: Path, committed: Path) -> list[str]:
    """Paths that are in one folder only or differ."""
    names = {
        str(path.relative_to(folder))
        for folder in (fresh, committed)
        for path in folder.rglob("*.py*")
        if "__pycache__" not in path.parts
    }
    _, different, missing = filecmp.cmpfiles(fresh, committed, sorted(names), shallow=False)
    return sorted(different + missing)


def main() -> None:
    """Write, or check."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        generate(fresh)
        if "--check" in sys.argv[1:]:
            if stale := differences(fresh, STUBS):
                raise SystemExit(
                    "services/gen is not what proto/ says; run make proto and commit:\n  "
                    + "\n  ".join(stale)
                )
            return
        shutil.rmtree(STUBS, ignore_errors=True)
        shutil.copytree(fresh, STUBS)


if __name__ == "__main__":
    main()
