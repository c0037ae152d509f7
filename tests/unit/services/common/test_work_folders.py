"""Folders that several processes use, and that outlive them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from services.common.errors import Unavailable
from services.common.work_folders import WorkFolders

ANN = "tenants/acme/avatars/ann"
SPAWN = multiprocessing.get_context("spawn")


def hold(root: Path, name: str, ready: Connection) -> None:
    with WorkFolders(root).own(name, of=ANN) as folder:
        (folder / "half").write_text("work")
        ready.send("in")
        ready.recv()


def test_work_of_a_killed_process_is_found_by_the_next(tmp_path: Path) -> None:
    here, there = SPAWN.Pipe()
    holder = SPAWN.Process(target=hold, args=(tmp_path, "job", there))
    holder.start()
    assert here.recv() == "in"
    folders = WorkFolders(tmp_path)
    with pytest.raises(Unavailable), folders.own("job", of=ANN):
        pass
    with folders.own("job", "job.2", of=ANN) as other:
        assert other.name == "job.2"
    assert not folders.remove("job")
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with folders.own("job", of=ANN) as folder:
        assert (folder / "half").read_text() == "work"


def test_a_shared_folder_is_made_once_and_read_by_all(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    made: list[Path] = []
    inside = threading.Barrier(4, timeout=30)

    def make(content: Path) -> None:
        made.append(content)
        content.mkdir()

    def read() -> None:
        with folders.share("data", make, of=ANN) as content:
            assert content.is_dir()
            inside.wait()

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not inside.broken
    assert len(made) == 1


def test_a_shared_folder_that_could_not_be_made_is_tried_again(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)

    def fail(content: Path) -> None:
        raise Unavailable("the store is away")

    with pytest.raises(Unavailable), folders.share("data", fail, of=ANN):
        pass
    with folders.share("data", Path.mkdir, of=ANN) as content:
        assert content.is_dir()
        assert not folders.remove("data")
    assert folders.remove("data")
    assert not content.exists()


def test_tidying_removes_what_nobody_uses_or_has_touched_of_late(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    for name in ("old", "fresh", "used"):
        with folders.own(name, of=ANN) as folder:
            (folder / "file").write_text(name)
    for name in ("old", "used"):
        for path in (tmp_path / name, *(tmp_path / name).rglob("*")):
            os.utime(path, (1, 1))
    (tmp_path / ".broken.off.gone").mkdir()
    with folders.own("used", of=ANN):
        for path in (tmp_path / "used", *(tmp_path / "used").rglob("*")):
            os.utime(path, (1, 1))
        folders.tidy(60)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "used"]


def test_removing_what_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    assert WorkFolders(tmp_path).remove("nothing")
    assert list(tmp_path.iterdir()) == []
    WorkFolders(tmp_path / "no" / "root").tidy(0)


def test_a_folder_says_for_whom_it_was_used(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    for name in (ANN, "tenants/acme/avatars/bob", ANN):
        with folders.share("data", Path.mkdir, of=name):
            assert name in folders.owners()["data"]
    assert folders.owners() == {"data": {ANN, "tenants/acme/avatars/bob"}}
    assert WorkFolders(tmp_path / "no" / "root").owners() == {}
