"""What the library computes is to the bit what it was when `golden.json` was written, on a machine like that one."""

import json
from pathlib import Path

import pytest

from tools import golden


@pytest.mark.without_backend
@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("tensorflow", marks=pytest.mark.slow),
        *(pytest.param(backend, marks=pytest.mark.soak) for backend in ("jax", "torch")),
    ],
)
def test_everything_is_computed_as_it_was(backend, tmp_path):
    stored, here = json.loads(Path(__file__).with_name("golden.json").read_text()), golden.fingerprint()
    there = stored["fingerprint"]
    if differing := [
        f"{key} {there.get(key)}, here {here.get(key)}" for key in there | here if there.get(key) != here.get(key)
    ]:
        pytest.skip(f"golden.json was written with {'; '.join(differing)}")
    # No backend takes part in the rows.
    parts = [part for part in golden.PARTS if part != "rows" or backend == "tensorflow"]
    measured = golden.measure(golden.TOOLS.parent, golden.groups_of([backend], parts), tmp_path)
    before = {group: stored["groups"].get(group, {}) for group in measured}
    assert [compared for compared in golden.compare(before, measured) if compared[-1]] == []
