import json
import re
import shutil

import pytest

from budgetbert.budget import describe
from budgetbert.reporting import charts
from budgetbert.training.run.record import read_record
from budgetbert.training.run.report import render, write_report
from tests.pages import Page, check_page

pytestmark = pytest.mark.without_backend


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of the files of a real run, to change."""
    for name in ("recipe.json", "plan.json", "log.jsonl"):
        shutil.copy(finished_run / name, tmp_path / name)
    return tmp_path


def rewrite_log(directory, change):
    lines = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    (directory / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in change(lines)))


def page(directory):
    return Page(render(read_record(str(directory))))


def test_the_page_of_a_run_is_whole_and_fetches_nothing(finished_run):
    check_page((finished_run / "report.html").read_text(encoding="utf-8"))  # written by the run itself


def test_the_page_states_the_numbers_of_the_run(finished_run):
    text = page(finished_run).text
    record = read_record(str(finished_run))
    final, plan = record.final, record.plan
    for stated in (
        "Finished run",
        f"{final['validation_loss']:.3f}",
        f"from {final['first_validation_loss']:.3f} at the start",
        f"unigram entropy {final['validation_unigram_entropy']:.3f}",
        f"{final['validation_accuracy']:.1%}",
        f"Tokens {describe(final['tokens'])}",
        f"steps {plan['steps']:,} 12 as planned",
        f"tokens/s while training {plan['tokens_per_second']:,.0f} {record.training_rate:,.0f}",
        f"times the corpus {plan['epochs']:.2f} {plan['epochs']:.2f} as planned",
        record.recipe["corpus"],
        record.recipe["vocabulary"],
        record.circumstances["packages"]["keras"],
        record.circumstances["platform"],
        "batch size 8 rows per step, mask rate 15% of the tokens",
        "None: no restart, no rollback, no skipped step.",
    ):
        assert stated in text, stated
    for kind in ("training steps", "validation", "checkpoints"):
        assert re.search(rf"{kind} [\d.]+ s [\d.]+%", text), kind


def test_the_shares_of_the_time_bar_sum_to_the_clock(finished_run):
    record = read_record(str(finished_run))
    assert sum(record.seconds.values()) == pytest.approx(record.final["elapsed_seconds"], rel=1e-3)
    flexes = re.findall(r"flex:([\d.]+) ", render(record))
    assert sum(map(float, flexes)) == pytest.approx(1000, abs=5)


def test_incidents_samples_and_marks_are_told(run):
    samples = [{"text": "the <b>cat</b> [MASK] a dog", "expected": "sees", "answers": [["sees", 0.75], ["&", 0.1]]}]

    def change(lines):
        training = next(line for line in lines if "learning_rate" in line)
        yield from lines[:-1]
        yield {"incident": "rollback", "step": 9, "message": "loss 99 is far above its median"}
        yield {"resumed_from_step": 6}
        yield {"changed": {"backend": ["tensorflow", "jax"]}}
        for step in (7, 11):
            yield {**training, "step": step, "skipped_steps": 1}
            yield {"step": step, "samples": samples}
        yield {"mark": 0.5, "step": 6, "path": "marks/0.5.keras"}
        yield lines[-1]

    rewrite_log(run, change)
    text = page(run).text
    assert "9 rollback loss 99 is far above its median" in text
    assert "restart went on after step 6; steps done again: 3" in text
    assert 'backend: "tensorflow" before, "jax" now' in text
    assert "7 to 11 steps skipped 2 in all" in text
    assert "the <b>cat</b> [MASK] a dog here stood: sees" in text
    assert "step 7 sees 75% & 10%" in text
    assert "step 11 sees 75% & 10%" in text
    assert "50% of the budget marks/0.5.keras" in text


def test_what_changes_during_a_run_gets_a_curve_and_what_does_not_a_sentence(run):
    def change(lines):
        for number, line in enumerate(lines):
            if "learning_rate" in line:
                for step in (3, 6, 9):
                    yield {**line, "step": step, "batch_size": step, "mask_rate": 0.3 / step, "budget_spent": step / 12,
                           "parameter_norm": 20.0 + step, "loss_scale": 2.0**step, "memory": 3e9}  # fmt: skip
            elif number:
                yield line

    rewrite_log(run, change)
    text = page(run).text
    for name in ("Batch size", "Mask rate", "Parameter norm", "Loss scale", "Gradient norm", "Throughput", "Data wait"):
        assert name in text
    assert "The same throughout: memory 3.0 GB." in text


def test_the_price_gives_the_cost(run):
    written = json.loads((run / "recipe.json").read_text())
    del written["sha256"]
    written["circumstances"]["price_per_hour"] = 3600.0
    (run / "recipe.json").write_text(json.dumps(written))
    seconds = read_record(str(run)).final["elapsed_seconds"]
    assert f"Cost {seconds:,.2f} at 3600 per hour" in page(run).text


def test_a_run_still_going_has_its_page(run):
    rewrite_log(run, lambda lines: lines[:-1])
    write_report(str(run))
    text = Page((run / "report.html").read_text(encoding="utf-8")).text
    assert "Unfinished run, 100% of the budget spent" in text
    assert "so far" in text
    rewrite_log(run, lambda lines: [*lines, {"incident": "early_stop", "step": 12, "message": "loss 9 after 3 h"}])
    assert "Run that was given up, 100% of the budget spent" in page(run).text


def test_a_run_that_has_only_validated_or_only_planned_has_its_page(run):
    rewrite_log(run, lambda lines: lines[:1])
    assert "Unfinished run, 0% of the budget spent" in page(run).text
    (run / "log.jsonl").unlink()
    assert "Planned, not started" in page(run).text
    (run / "plan.json").unlink()
    assert "Not started" in page(run).text


@pytest.mark.parametrize("kind", ["training", "validation", "final", "plan"])
def test_the_page_stays_whole_whatever_keys_are_missing(run, kind):
    def places(record):
        kinds = {"training": record.training, "validation": record.validation, "final": [record.final]}
        return kinds.get(kind, [record.plan])

    keys = sorted(set(places(read_record(str(run)))[-1]) - {"step", "final"})  # without these a line is another
    for missing in (keys[::2], keys[1::2], keys):
        record = read_record(str(run))
        for place in places(record):
            for key in missing:
                place.pop(key)
        assert "academic_24h · tiny_24h" in Page(render(record)).text, missing


def test_text_from_outside_cannot_become_markup(run):
    written = json.loads((run / "recipe.json").read_text())
    del written["sha256"]
    written["circumstances"]["command"] = ["recipe.py", "--corpus", "</pre><script>alert(1)</script>"]
    (run / "recipe.json").write_text(json.dumps(written))
    # as text: a tag would be none, and Page allows no script
    assert "python recipe.py --corpus '</pre><script>alert(1)</script>'" in page(run).text


def test_a_long_log_makes_no_long_page():
    x = [i / 20000 for i in range(20001)]
    y = [8.0 - 6 * value + (3.0 if i == 7777 else 0.0) for i, value in enumerate(x)]
    svg = charts.curve_chart("Loss", x, y)
    assert len(svg) < 60_000
    assert "fill-opacity" in svg  # the band, in which the one outlier is seen
    tops = [float(number) for number in re.findall(r"[ML] [\d.]+ ([\d.]+)", svg)]
    assert min(tops) < 5  # points below the upper edge: nothing is cut off
