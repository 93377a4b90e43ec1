"""Finetuning as a whole: results, resuming, the models left behind, the baseline, and Hugging Face's losses."""

import dataclasses
import json
import shutil
import signal
import types
import zipfile
from unittest import mock

import keras
import numpy as np
import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning import finetune as finetuning
from budgetbert.finetuning import harness, protocols
from budgetbert.finetuning.batches import EncodedExamples, TrainingBatches
from budgetbert.finetuning.data import Folder
from budgetbert.finetuning.heads import TextHead, logits_of
from budgetbert.finetuning.pretrained import Pretrained
from budgetbert.finetuning.tasks import TASKS
from budgetbert.finetuning_rule import finetuning_settings
from budgetbert.training.run.directory import Run
from budgetbert.training.step.base import make_step
from budgetbert.training.step.objectives import Classification
from tests.finetuning import folder
from tests.models.examples import masked_lm

# fast enough for a test, and so that two epochs are enough
TOY = dataclasses.replace(
    protocols.PROTOCOLS["cramming"], name="toy", learning_rates=(5e-3,), epochs=8, dropout=0.0, seeds=2
)


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    return folder.write(tmp_path_factory.mktemp("glue"))


def run(glue_dir, output_dir, protocol=TOY, model=None, **flags):
    values = {"tasks": "cola", "seeds": 2, "max_train_examples": None, "random_weights": False, "precision": "float32"}
    values |= {
        "cola_warmup": False,
        "remat": False,
        "submit": False,
        "protocol": protocol.name,
        "glue_dir": glue_dir,
        "output_dir": str(output_dir),
    }
    options = types.SimpleNamespace(model="runs/none/model.keras", **values)
    vars(options).update(flags)
    keras.utils.set_random_seed(0)
    model = model or folder.pretrained()
    with mock.patch.dict(protocols.PROTOCOLS, {protocol.name: protocol}):
        return harness.finetune(options, lambda path: model)


@pytest.fixture(scope="module")
def finished(glue, tmp_path_factory):
    """The directory of a finished run of CoLA and RTE, and what it returned."""
    directory = tmp_path_factory.mktemp("run") / "glue"
    return directory, run(glue, directory, tasks="cola,rte")


def test_results_have_values_median_number_and_spread(finished):
    directory, result = finished
    assert json.loads((directory / "glue.json").read_text()) == json.loads(json.dumps(result))
    for task, metric in (("cola", "matthews"), ("rte", "accuracy")):
        entry = result["tasks"][task]
        found = entry["metrics"][metric]
        assert found["n"] == len(found["values"]) == 2
        assert found["median"] == pytest.approx(np.median(found["values"]))
        assert found["spread"] == pytest.approx(np.ptp(found["values"]))
        assert entry["examples"] == 40
        assert entry["train_examples"] == 120
        assert any("officially" in note for note in entry["notes"])
    assert result["tasks"]["cola"]["metrics"]["matthews"]["median"] > 0.5  # it has learned
    assert result["tasks"]["cola"]["majority"] == {"matthews": 0.0}


def test_the_model_left_behind_reads_strings_and_has_the_scores_of_the_median_seed(finished, glue):
    directory, result = finished
    for name in ("cola", "rte"):
        task, entry = TASKS[name], result["tasks"][name]
        model = keras.models.load_model(directory / name / "model.keras", compile=False)
        assert model.label_names == task.label_names
        dev = Folder(glue).read(task, task.dev[0])
        texts = tuple(map(np.array, dev.texts)) if task.pair else np.array(dev.texts[0])
        predicted = model.predict(texts, verbose=0).argmax(axis=1)
        accuracy = np.mean(predicted == dev.labels)
        path = directory / name / "runs" / f"rate0.005-batch16-seed{entry['median_seed']}" / "predictions.json"
        assert json.loads(path.read_text())["dev"] == predicted.tolist()
        if name == "rte":
            assert accuracy == pytest.approx(entry["metrics"]["accuracy"]["values"][entry["median_seed"]], abs=1e-6)
    assert not list(directory.glob("*/runs/*/model.keras"))
    assert not list(directory.glob("*/runs/*/checkpoints"))


def test_a_finished_run_is_taken_over(finished, glue, monkeypatch):
    directory, result = finished
    monkeypatch.setattr(finetuning, "make_step", None)  # nothing is trained
    assert run(glue, directory, tasks="cola,rte")["tasks"] == result["tasks"]
    only = run(glue, directory, tasks="cola")
    assert only["tasks"].keys() == {"cola", "rte"}  # what stands there stays


def test_another_protocol_in_the_same_directory_is_refused(finished, glue):
    with pytest.raises(InputError, match="cola was begun with --seeds 2, asked for was 3"):
        run(glue, finished[0], seeds=3)
    with pytest.raises(InputError, match="cola was begun with --max_train_examples None, asked for was 60"):
        run(glue, finished[0], max_train_examples=60)
    with pytest.raises(InputError, match="holds another run: its model"):
        keras.utils.set_random_seed(5)
        run(glue, finished[0], model=folder.pretrained(), random_weights=True)


def test_a_signal_stops_it_and_the_same_command_ends_alike(finished, glue, tmp_path):
    calls = []
    apply_of = finetuning.make_step

    def stopping(*arguments):
        step = apply_of(*arguments)
        apply = step.apply

        def counted(rate):
            calls.append(rate)
            if len(calls) == 70:  # in the second seed
                signal.raise_signal(signal.SIGTERM)
            return apply(rate)

        step.apply = counted
        return step

    with mock.patch.object(finetuning, "make_step", stopping):
        assert run(glue, tmp_path) is None
    assert Run(str(tmp_path / "cola" / "runs" / "rate0.005-batch16-seed0")).final
    assert not Run(str(tmp_path / "cola" / "runs" / "rate0.005-batch16-seed1")).final
    resumed = run(glue, tmp_path)["tasks"]["cola"]
    assert resumed["metrics"] == finished[1]["tasks"]["cola"]["metrics"]
    lines = Run(str(tmp_path / "cola" / "runs" / "rate0.005-batch16-seed1")).lines()
    assert any(line.get("resumed_from_step", 0) > 0 for line in lines)


@pytest.mark.without_backend
def test_other_texts_in_the_same_directory_are_refused(finished, glue, tmp_path):
    other = folder.write(tmp_path / "other", train=90)
    with pytest.raises(InputError, match="holds another run: its data"):
        run(other, finished[0], tasks="cola")


@pytest.mark.slow
@pytest.mark.without_backend
def test_regression_and_three_classes(glue, tmp_path):
    result = run(glue, tmp_path, tasks="stsb,mnli", seeds=1)
    assert result["tasks"]["stsb"]["metrics"]["pearson"]["median"] > 0.5
    assert result["tasks"]["mnli"]["metrics"].keys() == {"accuracy_matched", "accuracy_mismatched"}
    assert result["tasks"]["mnli"]["examples"] == 80
    model = keras.models.load_model(tmp_path / "stsb" / "model.keras", compile=False)
    assert model.label_names is None
    assert model.num_classes == 1


@pytest.mark.slow
@pytest.mark.without_backend
def test_some_tasks_start_from_the_encoder_of_mnli(glue, tmp_path):
    protocol = dataclasses.replace(TOY, mnli_transfer=("rte",), epochs=1)
    starts, poolers = [], []
    original = TextHead.restart

    def restart(head, model, weights, seed, pooler):
        starts.append(weights[0].copy())
        poolers.append(pooler)
        original(head, model, weights, seed, pooler)

    with mock.patch.object(TextHead, "restart", restart):
        result = run(glue, tmp_path, protocol=protocol, tasks="rte,mnli,cola", seeds=1)
    mnli = keras.models.load_model(tmp_path / "mnli" / "model.keras", compile=False)
    finetuned = keras.ops.convert_to_numpy(mnli.backbone.trainable_variables[0].value)
    # in the order mnli, rte, cola
    np.testing.assert_array_equal(starts[1], finetuned)
    np.testing.assert_array_equal(starts[0], starts[2])
    np.testing.assert_array_equal(poolers[1][0], keras.ops.convert_to_numpy(mnli.pooler.kernel))
    assert poolers[0] is poolers[2] is None
    assert "starts from the encoder and the pooler finetuned on MNLI" in result["tasks"]["rte"]["notes"]


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_grid_takes_the_configuration_with_the_best_median(glue, tmp_path):
    protocol = dataclasses.replace(TOY, learning_rates=(1e-7, 5e-3))
    entry = run(glue, tmp_path, protocol=protocol, seeds=1)["tasks"]["cola"]
    assert entry["configuration"] == {"learning_rate": 5e-3, "batch_size": 16}
    assert [tried["learning_rate"] for tried in entry["configurations_tried"]] == [1e-7, 5e-3]
    assert entry["metrics"]["matthews"]["values"] == entry["configurations_tried"][1]["matthews"]


@pytest.mark.slow
@pytest.mark.without_backend
def test_budget_tells_and_saves_what_it_takes_for_each_task(glue, tmp_path, capsys):
    budget = dataclasses.replace(protocols.PROTOCOLS["budget"], max_steps=2)
    result = run(glue, tmp_path, protocol=budget, tasks="cola,rte", seeds=1)
    expected = finetuning_settings(128, 120)
    told = f"rate {expected.learning_rate:.2g}, {expected.epochs} epochs in batches of {expected.batch_size}"
    assert f"2 steps on 120 examples; {told}" in " ".join(capsys.readouterr().out.split())
    for name in ("cola", "rte"):
        entry = result["tasks"][name]
        assert entry["configuration"]["learning_rate"] == expected.learning_rate
        assert told in entry["notes"]
        recipe = json.loads(next((tmp_path / name / "runs").glob("*/recipe.json")).read_text())["recipe"]
        assert (recipe["epochs"], recipe["name"]) == (expected.epochs, "budget")
    assert told in (tmp_path / "glue.md").read_text()


@pytest.mark.without_backend
def test_a_run_that_learns_nothing_is_flagged(glue, tmp_path):
    protocol = dataclasses.replace(TOY, learning_rates=(1e-9,), epochs=1)
    entry = run(glue, tmp_path, protocol=protocol, seeds=1)["tasks"]["cola"]
    assert entry["failed_seeds"] == [0]
    assert entry["notes"][-1] == "seed 0 failed to train: predicts the same throughout"


@pytest.mark.without_backend
def test_the_baseline_draws_other_weights_for_each_seed():
    keras.utils.set_random_seed(0)
    model = folder.pretrained()
    trained, random = Pretrained(model), Pretrained(model, random=True)
    kernel = next(i for i, value in enumerate(trained.weights) if value.ndim == 2)
    np.testing.assert_array_equal(trained.weights_of(0)[kernel], trained.weights_of(1)[kernel])
    assert not np.array_equal(random.weights_of(0)[kernel], random.weights_of(1)[kernel])
    np.testing.assert_array_equal(random.weights_of(0)[kernel], random.weights_of(0)[kernel])
    assert [value.shape for value in random.weights_of(0)] == [value.shape for value in trained.weights_of(0)]
    assert random.fingerprint != trained.fingerprint


@pytest.mark.without_backend
def test_the_pooler_is_1024_wide_for_crammed_bert_alone():
    for family, width in (("tiny_crammed", 1024), ("tiny_frontier", 128), ("tiny_24h", 128)):
        model = TextHead(TASKS["rte"]).make_model(Pretrained(masked_lm(family)), 0.0, 64, "float32")
        assert model.pooler.units == width


@pytest.mark.without_backend
def test_a_trained_pooler_is_carried_over():
    """As `from_pretrained` does in the original: from a classifier, and from a next-sentence head."""
    task = TASKS["rte"]
    keras.utils.set_random_seed(0)
    plain = masked_lm("tiny_bert", max_sequence_length=64)
    assert Pretrained(plain).pooler is None
    paired = type(plain)(plain.backbone, preprocessor=plain.preprocessor, next_sentence=True)
    classifier = TextHead(task).make_model(Pretrained(plain), 0.0, 64, "float32")
    for model, pooler in ((paired, paired.next_sentence_head.pooler), (classifier, classifier.pooler)):
        pooler.bias.assign(np.linspace(-1, 1, pooler.bias.shape[0]))
        start = Pretrained(model)
        target = TextHead(task).make_model(start, 0.0, 64, "float32")
        TextHead(task).restart(target, start.weights_of(0), 0, start.pooler)
        np.testing.assert_array_equal(target.pooler.kernel, pooler.kernel)
        np.testing.assert_array_equal(target.pooler.bias, pooler.bias)
        assert Pretrained(model, random=True).pooler is None
        assert start.fingerprint != Pretrained(plain).fingerprint
    # One of another width is left aside.
    TextHead(task).restart(target, start.weights_of(0), 0, [np.ones((128, 7), "float32"), np.ones(7, "float32")])
    np.testing.assert_array_equal(target.pooler.bias, 0)


@pytest.mark.without_backend
def test_bad_input_is_told_before_anything_is_trained(glue, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        run(str(tmp_path / "none"), tmp_path / "out")
    with pytest.raises(InputError, match="needs QNLI/"):
        run(glue, tmp_path / "out", tasks="qnli")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_losses_are_those_of_hugging_face(glue):
    """The same weights, the same batches, no dropout: the losses of 20 steps within 1e-3."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from budgetbert.models.hugging_face import to_transformers

    protocol = dataclasses.replace(protocols.PROTOCOLS["cramming"], dropout=0.0)
    rate, steps, task = 1e-3, 20, TASKS["rte"]
    pretrained = Pretrained(masked_lm("tiny_bert", max_sequence_length=64))
    model = TextHead(task).make_model(pretrained, 0.0, 64, "float32")
    TextHead(task).restart(model, pretrained.weights, seed=0)
    theirs = to_transformers(model).train()
    encoded = EncodedExamples(Folder(glue).read(task, task.train), pretrained.tokenizer, 64)
    batches = list(TrainingBatches(encoded, 16, 0, protocol.drop_last, steps).read(0, 16))
    ours = our_losses(model, protocol, batches, rate)
    optimizer = torch.optim.AdamW(theirs.parameters(), rate, (0.9, protocol.beta_2), protocol.epsilon, weight_decay=0.0)
    losses = []
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = rate * protocol.factor(step / steps, steps)
        names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
        inputs = {names[name]: torch.tensor(batch[name], dtype=torch.long) for name in names}
        loss = theirs(**inputs, labels=torch.tensor(batch["labels"], dtype=torch.long)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(ours, losses, atol=1e-3)
    assert np.ptp(losses) > 0.02  # there was something to agree on


def our_losses(model, protocol, batches, rate):
    from budgetbert.batches import stack

    optimizer = keras.optimizers.AdamW(
        beta_1=0.9, beta_2=protocol.beta_2, epsilon=protocol.epsilon, weight_decay=protocol.weight_decay
    )
    step = make_step(model, optimizer, Classification(), protocol.clip_norm)
    losses = []
    for number, batch in enumerate(batches):
        step.accumulate(stack([batch], 1), 1, number)
        scalars = step.apply(rate * protocol.factor(number / len(batches), len(batches)))
        losses.append(float(scalars["loss"]) / float(scalars["weight"]))
    return losses


def test_logits_come_back_in_the_order_of_the_examples(glue):
    from budgetbert.finetuning.batches import judging_batches

    task = TASKS["rte"]
    pretrained = Pretrained(folder.pretrained())
    model = TextHead(task).make_model(pretrained, 0.0, 64, "float32")
    TextHead(task).restart(model, pretrained.weights, seed=0)
    dev = Folder(glue).read(task, task.dev[0])
    encoded = EncodedExamples(dev, pretrained.tokenizer, 64)
    found = logits_of(model, judging_batches(encoded, 16), len(encoded))
    one_by_one = model.predict(tuple(map(np.array, dev.texts)), verbose=0)
    np.testing.assert_allclose(found, one_by_one, atol=1e-5)


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_submission_holds_the_test_sets_as_the_median_models_judge_them(glue, tmp_path, capsys):
    run(glue, tmp_path, tasks="cola,mnli", seeds=1, submit=True)
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        assert archive.namelist() == ["CoLA.tsv", "MNLI-m.tsv", "MNLI-mm.tsv"]
        cola, mnli = (archive.read(name).decode().splitlines() for name in ("CoLA.tsv", "MNLI-mm.tsv"))
    model = keras.models.load_model(tmp_path / "cola" / "model.keras", compile=False)
    texts = Folder(glue).read(TASKS["cola"], TASKS["cola"].test[0]).texts[0]
    predicted = model.predict(np.array(texts), verbose=0).argmax(axis=1)
    assert cola == ["index\tprediction", *(f"{i}\t{label}" for i, label in enumerate(predicted))]
    assert {line.split("\t")[1] for line in mnli[1:]} <= {"entailment", "neutral", "contradiction"}
    told = capsys.readouterr().out
    assert "RTE.tsv is missing" in told  # the site wants all files
    assert "CoLA.tsv: it has 40 rows, the test set 1,063" in told


@pytest.mark.slow
@pytest.mark.without_backend
def test_the_diagnostic_is_judged_by_the_model_of_mnli(glue, tmp_path):
    labelled = tmp_path / "glue"
    shutil.copytree(glue, labelled)
    (labelled / "AX").mkdir()
    rows = [
        f"{i}\tthe cat sat\tthe {'cat' if i % 2 else 'dog'} sat\t{'entailment' if i % 2 else 'neutral'}"
        for i in range(20)
    ]
    text = "\n".join(["index\tsentence1\tsentence2\tlabel", *rows])
    (labelled / "AX" / "diagnostic.tsv").write_text(text + "\n", encoding="utf-8")
    entry = run(str(labelled), tmp_path / "out", tasks="mnli,ax", seeds=1)["tasks"]["ax"]
    assert entry["examples"] == 20
    assert entry["metrics"]["matthews"]["n"] == 1
    assert "judged by the median model of MNLI" in entry["notes"]
    with pytest.raises(InputError, match="ax is judged by the model of MNLI"):
        run(str(labelled), tmp_path / "other", tasks="ax")


@pytest.mark.without_backend
def test_pages_and_tables_are_written(finished):
    directory, _ = finished
    text = (directory / "glue.md").read_text()
    assert "| CoLA" in text
    assert "Cramming" in text
    assert (directory / "glue.html").read_text().count("<svg") >= 1
