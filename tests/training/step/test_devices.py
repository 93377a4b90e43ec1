"""Runs on two devices and in two processes against the same run on one."""

import json
import subprocess

import keras
import pytest

from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.errors import InputError
from budgetbert.training.run.directory import Run
from tests.training import several
from tests.training.runs import train, train_clipped


@pytest.fixture(scope="module")
def alone(small_corpus, tmp_path_factory):
    """The weights after 12 clipped steps of two micro-batches on one device."""
    return train_clipped(small_corpus.directory, tmp_path_factory.mktemp("alone") / "run").get_weights()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """That of the run of `TestTwoProcesses`."""
    return tmp_path_factory.mktemp("processes") / "run"


def skip_on_torch():
    if keras.backend.backend() == "torch":
        pytest.skip("torch has one device a process")


@pytest.mark.slow
def test_two_devices_give_the_weights_of_one(alone, small_corpus, tmp_path):
    skip_on_torch()
    assert several.farthest(several.run(small_corpus.directory, tmp_path / "run", devices=2), alone) < 1e-5
    run = Run(str(tmp_path / "run"))
    plan = run.read_json("plan.json")
    assert plan["devices"] == 2
    assert plan["device"].startswith("2 x ")
    assert run.final["device"] == plan["device"]
    assert run.final["tokens"] == 12 * 8 * 32


@pytest.mark.slow
def test_two_devices_continue_a_model_as_one_does(alone, small_corpus, tmp_path):
    skip_on_torch()
    train_clipped(small_corpus.directory, tmp_path / "first")
    flags = {"initial_model": str(tmp_path / "first" / "model.keras"), "seed": 1}
    continued = train_clipped(small_corpus.directory, tmp_path / "one", **flags).get_weights()
    found = several.run(small_corpus.directory, tmp_path / "two", devices=2, **flags)
    assert several.farthest(found, continued) < 1e-5
    assert several.farthest(found, alone) > 1e-3


def test_an_overflow_on_one_device_skips_the_step_on_all():
    skip_on_torch()
    process = several.start("overflow_here", [], subprocess.PIPE, {})
    output, _ = process.communicate(timeout=several.PATIENCE)
    assert process.returncode == 0, output.decode()
    before, first, last, after = json.loads(output.splitlines()[-1])
    assert [step["finite"] for step in (before, first, last, after)] == [True, False, False, True]
    assert before["weights"] == first["weights"] == last["weights"] != after["weights"]
    assert [step["iterations"] for step in (before, first, last, after)] == [1, 1, 1, 2]
    assert last["scale"] == first["scale"] / 2 == before["scale"] / 4


@pytest.mark.slow
class TestTwoProcesses:
    """One run in three parts: stopped by a signal to the second process, then by its death, then to the end."""

    def test_a_signal_to_any_stops_all_after_the_same_step(self, small_corpus, directory):
        with several.Runs(small_corpus.directory, directory, processes=2, trouble=(4, "SIGTERM")) as runs:
            assert runs.wait() == [0, 0], runs.output(0) + runs.output(1)
            assert "stopped by SIGTERM after step 4" in runs.output(0)
            assert "step" not in runs.output(1)  # only the first process speaks
        assert not (directory / "model.keras").exists()
        state = json.loads((directory / "checkpoints" / "step-00000004" / "state.json").read_text())
        assert state["progress"]["step"] == 4

    def test_a_process_that_dies_ends_the_others_with_one_sentence(self, small_corpus, directory):
        with several.Runs(small_corpus.directory, directory, processes=2, trouble=(8, "SIGKILL")) as runs:
            assert runs.wait() == [1, -9], runs.output(0) + runs.output(1)
            said = runs.output(0)
        assert said.count("recipe: process 1 of 2 was lost: the same commands go on from the last checkpoint.") == 1
        assert "Traceback" not in said
        lost = [line for line in Run(str(directory)).lines() if line.get("incident") == "lost_process"]
        assert [line["step"] for line in lost] == [8]

    def test_the_same_commands_go_on_to_the_weights_of_one_device(self, alone, small_corpus, directory):
        assert several.farthest(several.run(small_corpus.directory, directory, processes=2), alone) < 1e-5
        lines = Run(str(directory)).lines()
        assert [line["resumed_from_step"] for line in lines if "resumed_from_step" in line] == [4, 6]
        assert lines[-1]["step"] == 12
        assert lines[-1]["device"].startswith("2 x ")
        steps = [line["step"] for line in lines if "validation_loss" in line and not line.get("final")]
        assert len(steps) == len(set(steps)) + steps.count(8) - 1  # what came after the last checkpoint stands twice


@pytest.mark.slow
def test_where_the_first_process_dies_the_other_ends_and_the_same_commands_go_on_to_the_same_bits(
    small_corpus, tmp_path
):
    undisturbed = several.run(small_corpus.directory, tmp_path / "undisturbed", processes=2)
    directory, trouble = tmp_path / "run", {"trouble": (8, "SIGKILL"), "troubled": 0}
    with several.Runs(small_corpus.directory, directory, processes=2, **trouble) as runs:
        codes, said = runs.wait(), runs.output(1)
    sentence = "recipe: process 0 of 2 was lost: the same commands go on from the last checkpoint."
    if keras.backend.backend() == "jax" and codes[1] != 1:  # its runtime was faster, and has aborted the process
        assert codes == [-9, -6], said
        assert "another task died" in said
    else:
        assert codes == [-9, 1], said
        assert said.count(sentence) == 1
    assert not (directory / "model.keras").exists()
    assert several.farthest(several.run(small_corpus.directory, directory, processes=2), undisturbed) == 0
    lines = Run(str(directory)).lines()
    # of step 6, or of step 3 where that checkpoint was still being written
    assert [line["resumed_from_step"] for line in lines if "resumed_from_step" in line] in ([3], [6])
    assert lines[-1]["step"] == 12


@pytest.mark.parametrize("what", ["seed", pytest.param("corpus", marks=pytest.mark.slow)])
def test_processes_that_were_started_differently_end_before_training_with_one_sentence(
    small_corpus, small_text, tmp_path, what
):
    if what == "seed":
        other, said = {"seed": 7}, "with --seed 7, process 0 with 0: start all with the same."
    else:
        corpus = prepare_corpus(str(small_text), tmp_path / "other", vocabulary_size=320, sequence_length=32, workers=1)
        other, said = {"corpus": str(corpus.directory)}, f"with --corpus {corpus.directory} (vocabulary "
    with several.Runs(small_corpus.directory, tmp_path / "run", processes=2, different=other) as runs:
        assert runs.wait() == [2, 2], runs.output(0) + runs.output(1)
        for rank in range(2):
            assert runs.output(rank).count(f"recipe: process 1 of 2 was started {said}") == 1
            assert "Traceback" not in runs.output(rank)
        assert what == "seed" or f"process 0 with {small_corpus.directory} (vocabulary " in runs.output(0)
    assert not Run(str(tmp_path / "run")).started


@pytest.mark.without_backend
def test_a_process_that_sees_another_directory_than_the_first_is_refused(tmp_path):
    run = Run(str(tmp_path / "one"))
    run.start({"seed": 1, "pair": (1, 2)}, {})
    Run(str(tmp_path / "one"), writes=False).start({"seed": 1, "pair": (1, 2)}, {})
    with pytest.raises(InputError, match=r"--output_dir .*two of a further process is not where process 0 has started"):
        Run(str(tmp_path / "two"), writes=False).start({"seed": 1, "pair": (1, 2)}, {})


@pytest.mark.slow
def test_a_budget_of_time_ends_both_processes_after_the_same_step(small_corpus, tmp_path):
    flags = {"budget": "20s", "checkpoint_every": "10m"}
    with several.Runs(small_corpus.directory, tmp_path / "run", processes=2, **flags) as runs:
        assert runs.wait() == [0, 0], runs.output(0) + runs.output(1)
        first, second = runs.last_steps()
    final = Run(str(tmp_path / "run")).final
    assert first == second == str(final["step"])
    assert final["step"] > 0
    assert 0.9 < final["budget_spent"] <= 1.05
    assert 15 < final["elapsed_seconds"] < 25


def test_more_devices_than_there_are(small_corpus, tmp_path):
    with pytest.raises(InputError, match=r"--devices asks for 99, .* 1: ask for 1 or less, or auto"):
        train(small_corpus.directory, tmp_path / "run", devices="99")
