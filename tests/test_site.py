"""The site: every page, link and docstring that it names is there, and no page fetches anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[1]


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path):
    pytest.importorskip("mkdocs")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {path.parent.name for path in (tmp_path / "site").rglob("index.html")}
    assert {page.stem for page in (REPOSITORY / "docs").glob("*.md")} <= pages
    fetched = re.compile(
        r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//|<link[^>]+rel="stylesheet"[^>]+href="https?://'
    )
    for path in (tmp_path / "site").rglob("*.html"):
        assert not fetched.search(path.read_text(encoding="utf-8")), path
    reference = (tmp_path / "site" / "API" / "index.html").read_text(encoding="utf-8")
    assert "fill_mask" in reference
