"""From flags to `glue.json`: all tasks, one after another, each finished one kept."""

import dataclasses
import os
import sys

import keras
from rich.console import Console

from budgetbert.command_line import InputError
from budgetbert.glue import data
from budgetbert.glue.classifier import Pretrained
from budgetbert.glue.finetune import Finetuning, Interrupted
from budgetbert.glue.protocols import PROTOCOLS, steps_of
from budgetbert.glue.report import write_report
from budgetbert.glue.submission import check_submission, write_submission
from budgetbert.glue.table import print_result
from budgetbert.glue.tasks import TASKS
from budgetbert.glue.testing import judge_diagnostic, predict_tests
from budgetbert.training.devices import Device, device_name
from budgetbert.training.guards import Signals
from budgetbert.training.record import read_record
from budgetbert.training.run import Run


def finetune(options, load_model):
    """Finetunes on GLUE, evaluates, and writes the results; finished tasks and seeds are taken over.

    Args:
        options: object with an attribute for each flag of `recipes/finetune_glue.py`.
        load_model: function of a path that returns a `BertBudgetMaskedLM` or `BertBudgetTextClassifier` with its
            tokenizer.

    Returns:
        dict, what `glue.json` holds; `None` where a signal stopped it.

    Raises:
        InputError: on bad input, before anything is trained.
    """
    with Signals() as signals:
        return _finetune(options, load_model, signals)


def _finetune(options, load_model, signals):
    width = None if sys.stdout.isatty() else 160
    console = Console(soft_wrap=True, width=width, highlight=False)
    protocol = PROTOCOLS[options.protocol]
    seeds = options.seeds or protocol.seeds
    source = data.open_source(options.glue_dir)
    tasks, missing = data.choose_tasks(options.tasks, source)
    tasks.sort(key=lambda task: task.name != "mnli" if protocol.mnli_transfer else 0)  # the others start from it
    examples = {task.name: _read(task, source, options) for task in tasks if task.train}
    pretrained = Pretrained(load_model(options.model), options.random_weights)
    identity = {"model": pretrained.fingerprint, "precision_asked": options.precision}
    of_task = {"seeds": seeds, "max_train_examples": options.max_train_examples}
    run = Run(options.output_dir)
    decisive = {"recipe": "finetune_glue", "protocol": protocol.settings, **identity}
    run.check(decisive)
    for task in tasks:
        _check_task(run, task, of_task)
    run.start(decisive, {"command": sys.argv, "model": options.model, "glue_dir": options.glue_dir})
    run.log({"tasks": [task.name for task in tasks]})  # from now on other settings are another run
    try:
        _tell_plan(protocol, tasks, missing, examples, seeds, options, console)
        device = _device(run, options.precision)
        result = {
            "protocol": protocol.name,
            "protocol_settings": protocol.settings,
            "split": "dev",
            "model": {
                "path": options.model,
                "parameters": pretrained.parameters,
                "random": options.random_weights,
                "fingerprint": pretrained.fingerprint,
            },
            "pretraining": None if options.random_weights else pretraining_of(options.model),
            "finetuning": {
                "device": device.name,
                "backend": keras.backend.backend(),
                "precision": device.precision,
                "seconds": 0.0,
            },
            "tasks": (run.read_json("glue.json") or {"tasks": {}})["tasks"],  # of earlier commands too
            "missing": missing,
            "command": sys.argv,
        }

        def model_of(name):
            return run.path(os.path.join(name, "model.keras"))

        for task in tasks:
            if task.train is None:
                continue
            weights_of, note = _start_of(task, protocol, tasks, pretrained, run)
            finetuning = Finetuning(
                pretrained,
                task,
                protocol,
                examples[task.name],
                weights_of,
                device,
                run.path(task.name),
                {**identity, "max_train_examples": options.max_train_examples},
                signals,
                console.print,
            )
            os.makedirs(run.path(task.name), exist_ok=True)
            run.write_json(os.path.join(task.name, "settings.json"), of_task)
            entry = finetuning(seeds)
            entry["notes"] = [*note, *entry["notes"]]
            result["tasks"][task.name] = entry
            result["finetuning"]["seconds"] = sum(part.get("seconds", 0) for part in result["tasks"].values())
            run.write_json("glue.json", result)
        if TASKS["ax"] in tasks and (diagnostic := judge_diagnostic(source, model_of)):
            result["tasks"]["ax"] = diagnostic
        result["missing"] = [name for name in missing if name not in result["tasks"]]
        run.write_json("glue.json", result)
        print_result(result, console=console)
        console.print(
            f"\nResults: {write_report(run.path('glue.json'))}, glue.md and glue.json beside it; models: "
            f"{run.path('TASK/model.keras')}"
        )
        if options.submit:
            _submit(tasks, source, model_of, run, console)
    except Interrupted as interruption:
        console.print(f"stopped by {interruption}, everything is saved: the same command goes on from there.")
        return None
    finally:
        run.release()
    return result


def _submit(tasks, source, model_of, run, console):
    predictions, without = predict_tests(tasks, source, model_of)
    if not predictions:
        raise InputError(f"--submit finds no test set of {', '.join(task.name for task in tasks)}: see docs/GLUE.md.")
    path = write_submission(predictions, run.directory)
    console.print(f"\nSubmission: {path}")
    if without:
        console.print(f"no test set was found for {', '.join(without)}")
    if faults := check_submission(path):
        console.print("gluebenchmark.com would refuse it:")
        for fault in faults:
            console.print(f"  {fault}")


def _check_task(run, task, settings):
    """Raises an `InputError` where a task was begun with another number of seeds or of examples.

    The models of all seeds but the median are deleted, so another median cannot be chosen afterwards.
    """
    begun = run.read_json(os.path.join(task.name, "settings.json")) or settings
    for key, old in begun.items():
        if old != settings[key]:
            asked = "none" if settings[key] is None else settings[key]
            raise InputError(
                f"{run.path(task.name)} was begun with --{key} {old}, asked for was {asked}: give the old value for "
                "this task, or another --output_dir."
            )


def pretraining_of(model_path):
    """Returns what the run in whose directory a model lies says of its training, as dict, or `None`.

    A model kept on the way (`marks/0.5.keras`) is told with the step and the cost that it had.
    """
    folder = os.path.dirname(os.path.abspath(model_path))
    mark = None
    if os.path.basename(folder) == "marks":
        mark = os.path.join("marks", os.path.basename(model_path))
        folder = os.path.dirname(folder)
    try:
        record = read_record(folder)
    except InputError:
        return None
    position = record.position
    if mark:
        step = next((line["step"] for line in record.marks if line.get("path") == mark), None)
        lines = [line for line in (*record.training, *record.validation) if line["step"] == step]
        position = max(lines, key=len, default={})
    losses = [line for line in record.validation if line["step"] <= position.get("step", 0)]
    return {
        "recipe": record.recipe.get("recipe"),
        "preset": record.recipe.get("preset"),
        "budget": record.recipe.get("budget"),
        "corpus": record.recipe.get("corpus"),
        "sources": record.sources(),
        "steps": position.get("step"),
        "tokens": position.get("tokens"),
        "flops": position.get("flops"),
        "hours": position.get("elapsed_seconds") and position["elapsed_seconds"] / 3600,
        "device": record.find("device"),
        "validation_loss": losses[-1]["validation_loss"] if losses else None,
    }


def _read(task, source, options):
    train = source.read(task, task.train)
    if options.max_train_examples:
        train = data.sample(train, options.max_train_examples, task)
    return {"train": train, "dev": [source.read(task, split) for split in task.dev]}


def _start_of(task, protocol, tasks, pretrained, run):
    """The function of a seed that gives the encoder's first weights, and a list with a note on it."""
    if task.name not in protocol.mnli_transfer:
        return pretrained.weights_of, []
    path = run.path(os.path.join("mnli", "model.keras"))
    if not os.path.exists(path):
        return pretrained.weights_of, ["MNLI is missing, so it starts from the pretrained encoder"]
    finetuned = Pretrained(keras.models.load_model(path, compile=False))
    return finetuned.weights_of, ["starts from the encoder finetuned on MNLI"]


def _device(run, precision):
    """The device, as measured when the run began on it; a resumed run computes in the same precision."""
    known = run.read_json("device.json")
    if known and (known["name"], known.pop("backend")) == (device_name(), keras.backend.backend()):
        return Device(**known)
    device = Device.measure(precision)
    run.write_json("device.json", {**dataclasses.asdict(device), "backend": keras.backend.backend()})
    return device


def _tell_plan(protocol, tasks, missing, examples, seeds, options, console):
    console.print(f"protocol {protocol.name}: {protocol.description}")
    for deviation in protocol.deviations:
        console.print(f"differs from the published protocol: {deviation}")
    if seeds != protocol.seeds:
        console.print(f"differs from the published protocol: {seeds} seeds, not {protocol.seeds}")
    for task in tasks:
        if task.train is None:
            continue
        train = len(examples[task.name]["train"])
        runs = seeds * len(protocol.configurations)
        steps = seeds * sum(steps_of(protocol, train, part["batch_size"]) for part in protocol.configurations)
        notes = [note for part in (examples[task.name]["train"], *examples[task.name]["dev"]) for note in part.notes]
        console.print(
            f"{task.title}: {runs} runs, {steps:,} steps on {train:,} examples{''.join(f'; {note}' for note in notes)}"
        )
    if missing:
        console.print(f"missing in {options.glue_dir}, so not measured: {', '.join(missing)}")
    console.print()
