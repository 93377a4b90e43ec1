"""What a writer leaves behind: all of the new, or all of the old."""

import errno
import hashlib
import os
import subprocess
import sys

import pytest

from budgetbert import files

pytestmark = pytest.mark.without_backend


def test_a_file_and_a_folder_take_the_place_of_the_old_ones(tmp_path):
    files.write(tmp_path / "page.html", "old")
    files.write(tmp_path / "page.html", "new")
    for content in ("old", "new"):
        with files.replacing(tmp_path / "model") as temporary:
            os.makedirs(os.path.join(temporary, "assets"))
            files.write(os.path.join(temporary, "assets", content), content)
    assert (tmp_path / "page.html").read_text() == "new"
    assert os.listdir(tmp_path / "model" / "assets") == ["new"]
    assert sorted(os.listdir(tmp_path)) == ["model", "page.html"]


@pytest.mark.parametrize("sync", [True, False])
def test_what_fails_leaves_the_old_and_nothing_beside_it(tmp_path, sync):
    files.write(tmp_path / "log.txt", "old", sync)
    with files.replacing(tmp_path / "folder") as temporary:
        os.mkdir(temporary)
    with pytest.raises(OSError), files.replacing(tmp_path / "log.txt", sync) as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(KeyboardInterrupt), files.replacing(tmp_path / "folder", sync) as temporary:
        os.mkdir(temporary)
        raise KeyboardInterrupt
    assert (tmp_path / "log.txt").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["folder", "log.txt"]


def test_the_temporary_name_has_the_same_extension_and_what_a_killed_process_left_there_goes(tmp_path):
    (tmp_path / "model.tmp.keras").write_text("left over")
    with files.replacing(tmp_path / "model.keras") as temporary:
        assert temporary == str(tmp_path / "model.tmp.keras")
        assert not os.path.exists(temporary)
        open(temporary, "w").close()
    assert os.listdir(tmp_path) == ["model.keras"]


def test_bytes_and_text_from_outside_are_written(tmp_path):
    files.write(tmp_path / "bytes", b"\x00\xff")
    files.write(tmp_path / "text", "half a pair: \ud800")
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    assert (tmp_path / "text").read_text(encoding="utf-8") == "half a pair: ?"
    assert files.sha256(tmp_path / "bytes") == hashlib.sha256(b"\x00\xff").hexdigest()


@pytest.mark.parametrize("name", ["directory", "file"])
def test_one_process_holds_a_lock_and_its_end_releases_it(tmp_path, name):
    (tmp_path / "directory").mkdir()
    program = "import sys, budgetbert.files as f; lock = f.Lock(sys.argv[1]); print('held', flush=True); input()"
    command = [sys.executable, "-c", program, str(tmp_path / name)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError):
            files.Lock(tmp_path / name)
        holder.kill()
    with files.Lock(tmp_path / name) as lock:
        with pytest.raises(BlockingIOError):
            files.Lock(tmp_path / name)
        lock.release()
        files.Lock(tmp_path / name).release()
