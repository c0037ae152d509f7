"""`make bench` can run to its end: every command of it is one that its program understands."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARSE = """
import argparse, runpy, shlex, sys
class Parsed(BaseException): pass
def first(parser, args=None, namespace=None):
    parse(parser, args, namespace)
    raise Parsed
parse, argparse.ArgumentParser.parse_args = argparse.ArgumentParser.parse_args, first
sys.path.insert(0, "benchmarks")
for line in sys.stdin:
    sys.argv = shlex.split(line)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except Parsed:
        continue
    except SystemExit as end:
        sys.exit(f"{line}: {end}")
    sys.exit(f"{line}: parses nothing")
"""


def commands() -> list[str]:
    """What `make bench` would run, loops written out."""
    dry = subprocess.run(
        ["make", "--dry-run", "bench"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = []
    for line in dry.stdout.splitlines():
        loop = re.fullmatch(r"for (\w+) in (.*); do (.*) \|\| exit 1; done", line)
        name, values, command = loop.groups() if loop else ("", "-", line)
        pairs = product([command], values.split())
        found += [c.replace(f"${name}", value) if name else c for c, value in pairs]
    return [c for c in found if "benchmarks/" in c]


def test_every_benchmark_takes_the_arguments_that_make_gives_it() -> None:
    scripts = [c.partition("/python ")[2] for c in commands() if "/python benchmarks/" in c]
    assert "benchmarks/watermark.py attacks" in scripts
    asking, silent = [], []
    for script in scripts:
        path = ROOT / script.split()[0]
        (asking if "argparse" in path.read_text() else silent).append(script)
    assert all(script.endswith(".py") for script in silent)  # they would not see arguments
    parsed = subprocess.run(
        [sys.executable, "-c", PARSE], cwd=ROOT, input="\n".join(asking), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert parsed.returncode == 0, parsed.stderr[-2000:]


def test_the_papers_figures_are_kept_before_they_are_quoted() -> None:
    told = commands()
    plan = next(i for i, c in enumerate(told) if "synctalk bench" in c)
    copies = [i for i, c in enumerate(told) if c.startswith("cp out/benchmark/bench.")]
    quote = next(i for i, c in enumerate(told) if c.endswith("paper_table.py"))
    assert {told[i].rpartition(".")[2] for i in copies} == {"json", "csv"}
    assert plan < min(copies) <= max(copies) < quote


def test_what_the_sync_benchmark_aligns_with_is_installed_with_the_rest() -> None:
    assert "pocketsphinx==" in (ROOT / "pyproject.toml").read_text()
    assert "pocketsphinx==5.1.1" in (ROOT / "constraints.txt").read_text()
