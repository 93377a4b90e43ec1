"""The console of every program."""

import io
import os
import subprocess
import sys

import pytest

from budgetbert.terminal import LastingConsole

pytestmark = pytest.mark.without_backend


def test_a_file_has_lines_of_160_columns_unless_another_width_is_asked_for():
    written = io.StringIO()
    LastingConsole(file=written).print("word " * 100)
    assert 150 < max(map(len, written.getvalue().splitlines())) <= 160
    narrow = io.StringIO()
    LastingConsole(file=narrow, width=40).print("word " * 100)
    assert max(map(len, narrow.getvalue().splitlines())) <= 40


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_console_whose_reader_is_gone_falls_silent(stream, tmp_path):
    code = (
        "import time; from budgetbert.terminal import LastingConsole\n"
        f"console = LastingConsole(stderr={stream == 'stderr'})\n"
        "for _ in range(20): console.print('a line of a run'); time.sleep(0.05)\n"
        "open('went-on', 'w').close()"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, **pipes) as process:
        pipe = getattr(process, stream)
        assert pipe.readline() == b"a line of a run\n"
        pipe.close()
        assert process.wait(120) == 0
    assert (tmp_path / "went-on").exists()
