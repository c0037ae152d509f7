"""What a process that decodes untrusted files can still do: read its source, write its output."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from synctalk.media.sandbox import _environment

ATTACKS = {
    "connects": "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
    "sends over a unix socket": "import socket; socket.socketpair()",
    "runs a program": "import subprocess; subprocess.run(['/bin/true'])",
    "replaces itself by a program": "import os; os.execv('/bin/true', ['true'])",
    "forks": "import os; os.fork()",
    "kills its parent": "import os; os.kill(os.getppid(), 15)",
    "traces its parent": "refused(101 if x86 else 117, 16, os.getppid(), 0, 0)",
    "makes an io_uring": "refused(425, 8, ctypes.create_string_buffer(120))",
    "mounts": "refused(165 if x86 else 40, b'x', b'/mnt', b'tmpfs', 0, None)",
    "makes a namespace": "refused(272 if x86 else 97, 0x10000000)",
    "reads another file": "open('/etc/passwd').read()",
    "reads the secrets of its parent": "open(f'/proc/{os.getppid()}/environ').read()",
    "lists a folder": "os.listdir(beside)",
    "reads what lies beside its source": "open(beside + '/secret').read()",
    "writes beside its output": "open(beside + '/new', 'w')",
    "writes over its source": "open(source, 'w')",
    "links to another file": "os.symlink('/etc/passwd', out + '/link')",
    "runs what it wrote": "os.chmod(out + '/made', 0o700); os.execv(out + '/made', ['made'])",
}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
FILES = ("reads", "lists", "writes", "links")

# Imports once, then a child for each attack.
PROGRAM = """
import ctypes, errno, json, os, platform, sys, threading, traceback
from pathlib import Path
from synctalk.media.confine import confine
source, out, beside = sys.argv[1:4]
x86 = platform.machine() == 'x86_64'
libc = ctypes.CDLL(None, use_errno=True)
def refused(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), 'refused')
def outcome(attack):
    confine([Path(source)], [Path(out)])
    open(out + '/made', 'w').write(open(source).read())
    try:
        exec(attack)
    except OSError as error:
        return 7 if error.errno in (errno.EPERM, errno.EACCES) else 8
    return 0
results = {}
for name, attack in json.load(sys.stdin).items():
    if (child := os.fork()) == 0:
        try:
            os._exit(outcome(attack))
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    results[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
landlock = libc.syscall(444, None, ctypes.c_size_t(0), 1)
print(json.dumps({'results': results, 'landlock': landlock}))
"""
THREAD = "thread = threading.Thread(target=int); thread.start(); thread.join()"


@dataclass(frozen=True)
class Tried:
    results: dict[str, int]
    landlock: int
    said: str
    folder: Path


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """All attacks, each in a confined process of its own, and how each ended."""
    folder = tmp_path_factory.mktemp("confined")
    paths = [folder / name for name in ("source", "out", "beside")]
    paths[0].write_text("good")
    for path in paths[1:]:
        path.mkdir()
    (paths[2] / "secret").write_text("secret")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, paths)],
        input=json.dumps({**ATTACKS, "starts a thread": THREAD}),
        capture_output=True, text=True, check=False, env=_environment(), timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return Tried(answer["results"], answer["landlock"], done.stderr, folder)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_confined_process_is_refused_what_it_does_not_need(tried: Tried, name: str) -> None:
    if name.startswith(FILES) and tried.landlock < 1:
        pytest.skip("this kernel has no Landlock: files are not confined")
    assert tried.results[name] == 7, tried.said or "it succeeded"


def test_a_confined_process_does_its_work(tried: Tried) -> None:
    assert tried.results["starts a thread"] == 0, tried.said
    assert (tried.folder / "source").read_text() == "good"
    assert (tried.folder / "out" / "made").read_text() == "good"
    assert [path.name for path in (tried.folder / "beside").iterdir()] == ["secret"]
    assert [path.name for path in (tried.folder / "out").iterdir()] == ["made"]


def test_the_limited_process_is_told_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATAR_STORAGE__SECRET_KEY", "open sesame")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open sesame")
    assert "open sesame" not in _environment().values()
