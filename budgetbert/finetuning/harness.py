"""From flags to `glue.json`: all tasks, one after another, each finished one kept."""

import dataclasses
import os
import sys

import keras

from budgetbert.errors import InputError
from budgetbert.finetuning import data
from budgetbert.finetuning.finetune import Finetuning, Interrupted
from budgetbert.finetuning.heads import TextHead
from budgetbert.finetuning.pretrained import Pretrained
from budgetbert.finetuning.protocols import protocol_of, steps_of
from budgetbert.finetuning.published.submission import check_submission, write_submission
from budgetbert.finetuning.published.testing import judge_diagnostic, predict_tests
from budgetbert.finetuning.report import print_result, write_report
from budgetbert.finetuning.tasks import TASKS
from budgetbert.models.loading import load_any, load_trained
from budgetbert.reporting.numbers import number
from budgetbert.terminal import LastingConsole
from budgetbert.training.loop.guards import Signals
from budgetbert.training.plan.device import Device, device_name
from budgetbert.training.run.directory import Run, one_sentence
from budgetbert.training.run.record import read_record


def finetune(options, load_model=load_any):
    """Finetunes on GLUE, evaluates, and writes the results; finished tasks and seeds are taken over.

    Args:
        options: object with an attribute for each flag of `recipes/finetune_glue.py`.
        load_model: function of a path that returns a `BertBudgetMaskedLM` or `BertBudgetTextClassifier` with its
            tokenizer. Defaults to `load_any`.

    Returns:
        dict, what `glue.json` holds; `None` where a signal stopped it.

    Raises:
        InputError: on bad input, before anything is trained.
        TrainingError: where the disk is full, or the output directory can no longer be written.
    """
    with Signals() as signals, one_sentence(options.output_dir):
        return _finetune(options, load_model, signals)


def _finetune(options, load_model, signals):
    console = LastingConsole(soft_wrap=True, highlight=False)
    protocol = protocol_of(options.protocol, options.cola_warmup)
    seeds = options.seeds or protocol.seeds
    source = data.open_source(options.glue_dir)
    tasks, missing = data.choose_tasks(options.tasks, source)
    # The other tasks start from the encoder of MNLI, so it comes first.
    if protocol.mnli_transfer:
        tasks.sort(key=lambda task: task.name != "mnli")
    examples = {task.name: _read(task, source, options) for task in tasks if task.train}
    pretrained = Pretrained(load_model(options.model), options.random_weights)
    width = pretrained.config["hidden_dim"]
    protocols = {name: protocol.for_task(width, len(parts["train"])) for name, parts in examples.items()}

    identity = {"recipe": "finetune_glue", "model": pretrained.fingerprint, "precision_asked": options.precision}
    of_task = {"seeds": seeds, "max_train_examples": options.max_train_examples}
    run = Run(options.output_dir)
    decisive = {"protocol": protocol.settings, **identity}
    run.check(decisive)
    for task in tasks:
        _check_task(run, task, of_task)
    run.start(decisive, {"command": sys.argv, "model": options.model, "glue_dir": options.glue_dir})
    # With a first line in the log, the same directory with other settings is refused.
    run.log({"tasks": [task.name for task in tasks]})

    def model_of(name):
        return run.path(os.path.join(name, "model.keras"))

    try:
        _print_plan(protocol, protocols, tasks, missing, examples, seeds, options, console)
        device = measured_device(run, options.precision)
        result = _begin_result(protocol, pretrained, device, missing, options, run)
        for task in (task for task in tasks if task.train):
            of_run = {**identity, "max_train_examples": options.max_train_examples}
            start, notes = _start_of(task, protocol, pretrained, model_of("mnli"))
            notes += _chosen(protocol, protocols[task.name], task.pair)
            os.makedirs(run.path(task.name), exist_ok=True)
            run.write_json(os.path.join(task.name, "settings.json"), of_task)
            finetuning = Finetuning(
                pretrained,
                task,
                TextHead(task, apart=task.pair and protocols[task.name].pairs == "apart"),
                protocol=protocols[task.name],
                examples=examples[task.name],
                start=start,
                device=device,
                directory=run.path(task.name),
                identity=of_run,
                signals=signals,
                say=console.print,
                remat=options.remat,
            )
            entry = finetuning(seeds)
            result["tasks"][task.name] = {**entry, "notes": [*notes, *entry["notes"]]}
            result["finetuning"]["seconds"] = sum(part.get("seconds", 0) for part in result["tasks"].values())
            run.write_json("glue.json", result, checksum=False)
        if TASKS["ax"] in tasks and (diagnostic := judge_diagnostic(source, model_of)):
            result["tasks"]["ax"] = diagnostic
        result["missing"] = [name for name in missing if name not in result["tasks"]]
        run.write_json("glue.json", result, checksum=False)
        print_result(result, console)
        page = write_report(run.path("glue.json"))
        console.print(f"\nResults: {page}, glue.md and glue.json beside it; models: {model_of('TASK')}")
        if options.submit:
            _submit(tasks, source, model_of, run, console)
    except Interrupted as interruption:
        console.print(f"stopped by {interruption}, everything is saved: the same command goes on from there.")
        return None
    finally:
        run.release()
    return result


def _read(task, source, options):
    train = source.read(task, task.train)
    if options.max_train_examples:
        train = data.sample(train, options.max_train_examples, task)
    return {"train": train, "dev": [source.read(task, split) for split in task.dev]}


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


def _begin_result(protocol, pretrained, device, missing, options, run):
    """Returns what `glue.json` holds before the first task, with the tasks of earlier commands."""
    return {
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
        "tasks": (run.read_json("glue.json") or {"tasks": {}})["tasks"],
        "missing": missing,
        "command": sys.argv,
    }


def pretraining_of(model_path):
    """Returns what the run in whose directory, or `marks/`, a model lies says of its training; `None` without one."""
    folder, name = os.path.split(os.path.abspath(model_path))
    mark = None
    if os.path.basename(folder) == "marks":
        folder, mark = os.path.dirname(folder), os.path.join("marks", name)
    try:
        return read_record(folder).summary(mark)
    except InputError:
        return None


def _start_of(task, protocol, pretrained, mnli):
    """Returns the `Pretrained` that a task starts from, and a list with a note on it."""
    if task.name not in protocol.mnli_transfer:
        return pretrained, []
    if not os.path.exists(mnli):
        return pretrained, ["MNLI is missing, so it starts from the pretrained encoder"]
    return Pretrained(load_trained(mnli)), ["starts from the encoder and the pooler finetuned on MNLI"]


def measured_device(run, precision):
    """Returns the device as measured when the run began on it; a resumed run computes in the same precision."""
    known = run.read_json("device.json")
    if known and (known["name"], known["backend"]) == (device_name(), keras.backend.backend()):
        return Device(**known)
    device = Device.measure(precision)
    run.write_json("device.json", dataclasses.asdict(device))
    return device


def _chosen(protocol, of_task, pair):
    """Returns a list with what a protocol takes for one task, where that differs between tasks."""
    if of_task is protocol:
        return []
    (configuration,) = of_task.configurations
    rate, rows = configuration["learning_rate"], configuration["batch_size"]
    apart = ["two texts are encoded apart"] if pair and of_task.pairs == "apart" else []
    return [f"rate {rate:.2g}, {of_task.epochs} epochs in batches of {rows}", *apart]


def _print_plan(protocol, protocols, tasks, missing, examples, seeds, options, console):
    console.print(f"protocol {protocol.name}: {protocol.description}")
    deviations = list(protocol.deviations)
    if seeds != protocol.seeds:
        deviations.append(f"{seeds} seeds, not {protocol.seeds}")
    for deviation in deviations:
        console.print(f"differs from the published protocol: {deviation}")
    for task in (task for task in tasks if task.train):
        train, dev = examples[task.name]["train"], examples[task.name]["dev"]
        of_task = protocols[task.name]
        steps = seeds * sum(steps_of(of_task, len(train), part["batch_size"]) for part in of_task.configurations)
        notes = [*_chosen(protocol, of_task, task.pair), *(note for part in (train, *dev) for note in part.notes)]
        runs = f"{seeds * len(of_task.configurations)} runs, {number(steps)} steps on {number(len(train))} examples"
        console.print(f"{task.title}: {'; '.join((runs, *notes))}")
    if missing:
        console.print(f"missing in {options.glue_dir}, so not measured: {', '.join(missing)}")
    console.print()


def _submit(tasks, source, model_of, run, console):
    predictions, without = predict_tests(tasks, source, model_of)
    if not predictions:
        raise InputError(f"--submit finds no test set of {', '.join(task.name for task in tasks)}: see docs/GLUE.md.")
    path = write_submission(predictions, run.directory)
    console.print(f"\nSubmission: {path}")
    if without:
        console.print(f"no test set was found for {', '.join(without)}")
    if faults := check_submission(path):
        console.print("\n  ".join(("gluebenchmark.com would refuse it:", *faults)))
