import json

import pytest

from budgetbert.errors import InputError
from budgetbert.training.run.record import read_record

pytestmark = pytest.mark.without_backend


def training(step, loss=5.0, **more):
    return {
        "step": step,
        "tokens": 10 * step,
        "elapsed_seconds": float(step),
        "loss": loss,
        "learning_rate": 0.1,
        **more,
    }


def validation(step, loss):
    return {"step": step, "tokens": 10 * step, "elapsed_seconds": step + 0.5, "validation_loss": loss}


@pytest.fixture
def record(tmp_path):
    """A function that writes a log and reads it."""

    def write(*lines, end="\n"):
        (tmp_path / "recipe.json").write_text(json.dumps({"recipe": {"seed": 0}}))
        (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + end)
        return read_record(str(tmp_path))

    return write


def test_after_a_restart_only_the_steps_that_were_done_again_count(record):
    result = record(
        *(validation(0, 9.0), training(20, 8.0), training(40, 7.0), validation(40, 7.5), training(60, 6.0)),
        *({"resumed_from_step": 30}, training(45, 6.5), validation(50, 6.9), training(60, 6.1)),
    )
    assert result.series("step", "loss") == ([20, 45, 60], [8.0, 6.5, 6.1])
    assert result.series("tokens", "validation_loss") == ([0, 500], [9.0, 6.9])
    assert [(event["resumed_from_step"], event["after_step"]) for event in result.events] == [(30, 60)]


def test_after_a_rollback_the_steps_before_it_are_void_as_well(record):
    result = record(
        *(training(20, 8.0), training(40, 7.0), training(60, 99.0)),
        *({"incident": "rollback", "step": 40, "message": "back"}, training(55, 6.5)),
    )
    assert result.series("step", "loss") == ([20, 40, 55], [8.0, 7.0, 6.5])


def test_steps_that_stand_twice_without_a_notice_count_once(record):
    result = record(training(20, 8.0), training(40, 7.0), training(40, 6.0))
    assert result.series("step", "loss") == ([20, 40], [8.0, 6.0])


def test_the_final_line_is_where_a_finished_run_stands_and_adds_no_point(record):
    result = record(
        validation(0, 9.0), validation(40, 4.0), {**validation(40, 4.0), "final": True, "elapsed_seconds": 50}
    )
    assert result.position["elapsed_seconds"] == 50
    assert result.series("step", "validation_loss") == ([0, 40], [9.0, 4.0])


def test_a_running_log_stands_at_its_newest_line_and_its_unfinished_last_line_is_left_out(record):
    result = record(validation(0, 9.0), training(20), validation(20, 8.0), '{"step": 40', end="")
    assert result.final is None
    assert result.position["elapsed_seconds"] == 20.5


def test_seconds_beyond_the_kinds_are_other(record):
    result = record(training(100, seconds={"compile": 10.0, "step": 60.0, "data_wait": 20.0}))
    assert result.seconds["other"] == pytest.approx(10.0)
    assert result.training_rate == pytest.approx(1000 / 80)


def test_numbers_that_are_none_or_not_finite_are_no_points(record):
    result = record(training(20, None), training(40, float("nan")), training(60, 5.0))
    assert result.series("step", "loss") == ([60], [5.0])


def test_the_last_file_of_a_mark_and_all_samples_are_kept(record):
    samples = [{"text": "a [MASK]", "answers": [["b", 0.5]]}]
    result = record(
        *(
            {"mark": 0.5, "step": 50, "path": "old"},
            {"resumed_from_step": 40},
            {"mark": 0.5, "step": 51, "path": "new"},
        ),
        *({"step": 60, "samples": samples}, {"step": 90, "samples": samples}),
    )
    assert [mark["path"] for mark in result.marks] == ["new"]
    assert [line["step"] for line in result.samples] == [60, 90]


def test_what_is_no_run_or_damaged_is_one_sentence(record, tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        read_record(str(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()
    record(training(20))
    (tmp_path / "log.jsonl").write_text('{"step": 2\n{"step": 40}\n')
    with pytest.raises(InputError, match=r"log\.jsonl is not readable"):
        read_record(str(tmp_path))
    (tmp_path / "log.jsonl").write_text("7\n")
    with pytest.raises(InputError, match=r"log\.jsonl is not the log of a run"):
        read_record(str(tmp_path))
    (tmp_path / "recipe.json").write_text("[]")
    with pytest.raises(InputError, match="holds no run"):
        read_record(str(tmp_path))


@pytest.mark.parametrize(
    "line",
    [
        '{"resumed_from_step": "x"}',
        '{"incident": "rollback", "step": "x"}',
        '{"validation_loss": 1, "step": "a"}',
        '{"samples": 3, "step": 1}',
        '{"step": 1, "loss": [2]}',
        '{"final": 1}',
    ],
)
def test_a_line_of_another_kind_is_named(line, tmp_path):
    (tmp_path / "recipe.json").write_text('{"recipe": {"seed": 0}}')
    (tmp_path / "log.jsonl").write_text('{"step": 0, "validation_loss": 7.0}\n' + line + "\n")
    with pytest.raises(InputError, match=r"log\.jsonl is damaged, as its line 2 has the"):
        read_record(str(tmp_path))
