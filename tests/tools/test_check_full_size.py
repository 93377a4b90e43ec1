"""The check of the published architectures, here on a tiny one: that it passes what is right and tells what is not."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import keras
import pytest
from absl import flags

from budgetbert import optimizers
from budgetbert.command_line import TrainingError
from budgetbert.models.masked_lm import BertBudgetMaskedLM
from budgetbert.training import update_tensorflow

REPOSITORY = Path(__file__).parents[2]
TOOL = REPOSITORY / "tools" / "check_full_size.py"
PARAMETERS = 4_673_664  # of `tiny_24h`: 32,768 words, 512 positions, 2 segments x 128; two blocks, final norm, head


@pytest.fixture(scope="module")
def tool():
    """The tool as a module, with `tiny_24h` among what it knows to be published."""
    known = set(flags.FLAGS)
    specification = importlib.util.spec_from_file_location("check_full_size", TOOL)
    module = importlib.util.module_from_spec(specification)
    with mock.patch.dict(os.environ):  # a tool is started before Keras, tests are not
        specification.loader.exec_module(module)
    flags.FLAGS([TOOL.name])
    with mock.patch.dict(module.PUBLISHED, tiny_24h=PARAMETERS):
        yield module
    for name in set(flags.FLAGS) - known:
        delattr(flags.FLAGS, name)


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_an_update_of_what_was_published_passes(tool, optimizer):
    figures = tool.check(f"tiny_24h/32/{optimizer}", "float32")
    matrices, norms_and_biases = 3 + 2 * 4 + 1, 2 * (4 + 4) + 2 + 3
    assert figures["parameters"] == PARAMETERS
    assert (figures["decayed"], figures["not_decayed"]) == (matrices, norms_and_biases)
    assert figures["slots"] == 2 * (matrices + norms_and_biases)
    assert figures["parts"] == matrices + norms_and_biases + 2 * 2 * 2  # q, k and v count as three, biases too
    assert abs(figures["loss"] - 10.4) < 1
    assert 0 < figures["peak_gb"] < tool.LIMIT_GB
    assert min(figures[f"{name}_seconds"] for name in ("build", "first", "second", "apply")) > 0
    assert len(tool.row(f"tiny_24h/32/{optimizer}", figures)) == 13


class TestWhatIsWrongIsTold:
    @pytest.fixture
    def refused(self, tool):
        """A function that returns the sentence with which the check fails."""

        def check():
            with pytest.raises(TrainingError) as error:
                tool.check("tiny_24h/32/adamw", "float32")
            return str(error.value)

        return check

    def test_another_number_of_parameters(self, tool, refused):
        with mock.patch.dict(tool.PUBLISHED, tiny_24h=PARAMETERS + 1):
            assert refused() == f"tiny_24h/32/adamw has {PARAMETERS:,} parameters, not {PARAMETERS + 1:,}."

    def test_an_optimizer_with_one_slot(self, refused):
        with mock.patch.object(keras.optimizers, "AdamW", lambda **_: keras.optimizers.SGD(momentum=0.9)):
            assert refused() == "tiny_24h/32/adamw has slots of other shapes."

    def test_norms_that_decay(self, refused):
        with mock.patch.object(optimizers, "is_decayed", lambda variable: True):
            assert refused() == "tiny_24h/32/adamw has norms that decay."

    def test_a_model_that_does_not_start_from_a_uniform_guess(self, refused):
        build = BertBudgetMaskedLM.from_preset

        def confident(*arguments, **options):
            model = build(*arguments, **options)
            model.backbone.token_embedding.embeddings.assign(100 * model.backbone.token_embedding.embeddings)
            return model

        with mock.patch.object(BertBudgetMaskedLM, "from_preset", confident):
            assert "has a first loss of " in refused()

    def test_a_step_that_moves_nothing(self, refused):
        apply = update_tensorflow.Update.apply
        with mock.patch.object(update_tensorflow.Update, "apply", lambda update, rate: apply(update, 0.0)):
            assert "has variables that did not move: " in refused()


class TestTheTable:
    figures = dict.fromkeys(("slots", "decayed", "not_decayed", "parts"), 1) | {"parameters": 2_000, "loss": 10.4}
    figures |= dict.fromkeys((f"{name}_seconds" for name in ("build", "first", "second", "apply")), 0.1)

    @pytest.fixture
    def measured(self, tool, monkeypatch):
        """A function that lets every case end with a code and have held so many GB."""

        def measured(peak_gb, code=0):
            printed = "a line of a library\n" + json.dumps({**self.figures, "peak_gb": peak_gb})
            done = subprocess.CompletedProcess([], code, stdout=printed)
            monkeypatch.setattr(tool.subprocess, "run", lambda *arguments, **options: done)

        return measured

    def test_it_has_a_line_for_each_case(self, tool, measured, capsys):
        measured(11.9)
        tool.main()
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
        assert len(lines) == 2 + len(tool.CASES)
        assert len({line.count("|") for line in lines}) == 1
        assert lines[-1].startswith("| crammed_base | 128 | lamb | 2,000 |")

    def test_more_memory_than_promised_is_an_error(self, tool, measured):
        measured(12.1)
        with pytest.raises(TrainingError, match=r"held 12.1 GB, more than the 12 GB promised"):
            tool.main()

    def test_a_case_that_fails_ends_it(self, tool, measured):
        measured(1.0, code=137)
        with pytest.raises(TrainingError, match="bert_base/128/adamw failed with code 137"):
            tool.main()


def test_a_case_that_does_not_exist_is_one_sentence_and_code_2():
    command = [sys.executable, TOOL, "--case", "bert_base/512/adamw"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 2
    assert "flag --case=bert_base/512/adamw" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
