"""A file is there whole or not at all, with what it was before in its place until then."""

from __future__ import annotations

import os
import threading

import pytest

from ppc.runtime.base.errors import BadInput
from ppc.runtime.base.files import check_place, whole


def test_it_appears_when_all_is_written(tmp_path):
    path = tmp_path / "out.json"
    with whole(path) as part:
        part.write_text("half")
        assert not path.exists()
        part.write_text("all")
    assert path.read_text() == "all"
    assert os.listdir(tmp_path) == ["out.json"]


def test_what_was_there_stays_where_writing_fails(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("before")

    def broken() -> None:
        with whole(path) as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["out.json"]


def test_a_full_disk_is_a_line(tmp_path):
    (tmp_path / "full").symlink_to("/dev/full")
    words = "full: cannot be written: No space left on device"
    with pytest.raises(BadInput, match=words), whole(tmp_path / "full") as part:
        part.write_text("x")


def test_a_file_keeps_its_mode_and_a_link_its_target(tmp_path):
    path, link = tmp_path / "out", tmp_path / "link"
    path.write_text("before")
    path.chmod(0o640)
    link.symlink_to(path)
    with whole(link) as part:
        part.write_text("after")
    assert link.is_symlink()
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("after", 0o640)


def test_a_pipe_is_written_to(tmp_path):
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    check_place(path)
    with whole(path) as part:
        part.write_text("all")
    reader.join(timeout=10)
    assert read == ["all"]
    assert path.is_fifo()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (".", "a folder stands where a file is to be written"),
        ("none/out", "there is no folder"),
        ("/proc/out", "/proc/out: cannot be written"),
    ],
)
def test_a_place_that_takes_no_file(tmp_path, place, words):
    with pytest.raises(BadInput, match=words):
        check_place(tmp_path / place)


def test_looking_leaves_nothing(tmp_path):
    check_place(tmp_path / "out")
    (tmp_path / "there").write_text("before")
    check_place(tmp_path / "there")
    assert os.listdir(tmp_path) == ["there"]
    assert (tmp_path / "there").read_text() == "before"
