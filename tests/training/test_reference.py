import json
import shutil

import pytest

from budgetbert.command_line import InputError
from budgetbert.training import reference
from budgetbert.training.record import read_record
from budgetbert.training.report import render


@pytest.fixture
def record(finished_run):
    return read_record(str(finished_run))


def other_seed(finished_run, directory, **recipe):
    shutil.copytree(finished_run, directory)
    written = json.loads((directory / "recipe.json").read_text())
    written["recipe"].update({"seed": 1, **recipe})
    (directory / "recipe.json").write_text(json.dumps(written))
    return read_record(str(directory))


def test_a_finished_run_becomes_a_curve_at_four_shares_of_the_budget(record):
    curve = reference.make_curve([record])
    assert len(curve["losses"]) == len(reference.SHARES)
    assert curve["losses"][-1] == pytest.approx(record.final["validation_loss"], abs=1e-4)
    assert curve["ranges"] == [0.0] * 4
    assert curve["settings"]["preset"] == "tiny_24h"


def test_a_run_is_compared_with_the_curve_of_its_settings_only(record):
    curve = reference.make_curve([record])
    compared = reference.compare(record, [curve])
    assert [row["share"] for row in compared["rows"]] == [0.1, 0.25, 0.5, 1.0]
    assert all(abs(row["difference"]) < 1e-3 for row in compared["rows"])
    assert compared["warning"] is None
    curve["settings"]["budget"] = "13 steps"
    assert reference.compare(record, [curve]) is None


def test_a_run_that_is_far_off_is_warned_of(record):
    curve = reference.make_curve([record])
    curve["losses"][-1] -= 0.3
    assert "100% of the budget the loss is 0.30 nats above" in reference.compare(record, [curve])["warning"]
    curve["ranges"][-1] = 0.2  # seeds differ by as much
    assert reference.compare(record, [curve])["warning"] is None
    curve["losses"][-1] += 2.0
    assert "below the reference: look whether held-out text" in reference.compare(record, [curve])["warning"]


def test_seeds_are_averaged_and_their_range_is_kept(record, finished_run, tmp_path):
    curve = reference.make_curve([record, other_seed(finished_run, tmp_path / "one")])
    assert curve["seeds"] == [0, 1]
    with pytest.raises(InputError, match="give each seed once"):
        reference.make_curve([record, record])
    with pytest.raises(InputError, match="has other settings"):
        reference.make_curve([record, other_seed(finished_run, tmp_path / "two", learning_rate=1.0)])


def test_a_curve_replaces_the_one_of_the_same_settings(record, tmp_path):
    path = tmp_path / "curves.json"
    path.write_text("[]")
    curve = reference.make_curve([record])
    reference.add_curve(curve, path)
    reference.add_curve({**curve, "losses": [4.0, 3.0, 2.0, 1.0]}, path)
    assert [other["losses"] for other in reference.read_curves(path)] == [[4.0, 3.0, 2.0, 1.0]]


def test_the_curves_of_the_package_are_measured_and_fall(record):
    for curve in reference.read_curves():
        assert curve["losses"] == sorted(curve["losses"], reverse=True)
        assert len(curve["seeds"]) >= 3
        assert set(curve["settings"]) == set(reference.settings(record))


def test_the_report_shows_the_comparison(record, monkeypatch):
    assert "Against the reference" not in render(record)
    curve = reference.make_curve([record])
    curve["losses"][-1] -= 0.3
    monkeypatch.setattr(reference, "read_curves", lambda: [curve])
    page = render(record)
    assert "Against the reference" in page
    assert "nats above the reference" in page
