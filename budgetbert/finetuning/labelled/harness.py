"""From a labelled file to `model.keras`, `metrics.json` and a page."""

import dataclasses
import functools
import sys

import keras

from budgetbert.errors import InputError
from budgetbert.finetuning.finetune import Finetuning, Interrupted
from budgetbert.finetuning.harness import measured_device, pretraining_of
from budgetbert.finetuning.labelled.page import BASELINES, figure, write_page
from budgetbert.finetuning.labelled.rate_search import FACTORS, FEWEST_EXAMPLES, search_rate
from budgetbert.finetuning.pretrained import Pretrained
from budgetbert.finetuning.protocols import PROTOCOLS, steps_of
from budgetbert.finetuning_rule import finetuning_settings, reads_pairs_apart
from budgetbert.models.loading import load_any, load_trained
from budgetbert.reporting.numbers import counted, number
from budgetbert.terminal import LastingConsole
from budgetbert.training.loop.guards import Signals
from budgetbert.training.run.directory import Run, one_sentence

SEEDS = 3


def finetune(options, labelled, load_model=load_any):
    """Finetunes on a labelled file; finished seeds are taken over, one that was killed goes on.

    Args:
        options: object with an attribute for each flag of `recipes/finetune.py`.
        labelled: `Labelled`, see `data.read_labelled`.
        load_model: function of a path that returns a `BertBudgetMaskedLM` or `BertBudgetTextClassifier` with its
            tokenizer. Defaults to `load_any`.

    Returns:
        dict, what `metrics.json` holds; `None` where a signal stopped it.

    Raises:
        InputError: on bad input, before anything is trained.
        TrainingError: where the disk is full, or the output directory can no longer be written.
    """
    with Signals() as signals, one_sentence(options.output_dir):
        return _finetune(options, labelled, load_model, signals)


def _finetune(options, labelled, load_model, signals):
    console = LastingConsole(soft_wrap=True, highlight=False)
    task, examples, seeds = labelled.task, labelled.examples, options.seeds or SEEDS
    pretrained = Pretrained(load_model(options.model))
    longest = pretrained.config["max_sequence_length"]
    if (options.sequence_length or 0) > longest:
        raise InputError(f"--sequence_length {options.sequence_length} is more than the model's {longest} positions.")
    protocol = _protocol(options, labelled, pretrained.config["hidden_dim"])
    identity = {"recipe": "finetune", "model": pretrained.fingerprint, "precision_asked": options.precision}
    identity |= {**labelled.settings, **({"search": list(FACTORS)} if options.search else {})}
    if options.search and len(examples["train"]) < FEWEST_EXAMPLES:
        raise InputError(
            f"--search needs {FEWEST_EXAMPLES} training examples or more to tell rates apart, and there are "
            f"{len(examples['train'])}: leave it out."
        )
    run = Run(options.output_dir)
    data = {flag: part.fingerprint for flag, part in examples.items()}
    decisive = {"protocol": protocol.settings, "seeds": seeds, "task": task.name, "data": data, **identity}
    run.start(decisive, {"command": sys.argv, "model": options.model, "train": options.train})
    # With a first line in the log, the same directory with other settings is refused.
    run.log({"tasks": [task.name]})
    try:
        _print_plan(labelled, protocol, seeds, console, options.search)
        device = measured_device(run, options.precision)
        head = labelled.make_head(apart=True) if protocol.pairs == "apart" else labelled.make_head()
        make_finetuning = functools.partial(
            Finetuning,
            pretrained,
            task,
            head,
            start=pretrained,
            device=device,
            identity=identity,
            signals=signals,
            say=console.print,
            remat=options.remat,
        )
        tried = []
        if options.search:
            settings_of = functools.partial(_settings_of, options, labelled, pretrained.config["hidden_dim"])
            rate, tried = search_rate(make_finetuning, protocol, settings_of, examples["train"], run, console.print)
            protocol = dataclasses.replace(protocol, learning_rates=(rate,))
        finetuning = make_finetuning(
            protocol=protocol,
            examples={"train": examples["train"], "dev": [examples["dev"]]},
            directory=run.directory,
        )
        entry = finetuning(seeds)
        entry["baselines"] = head.baselines(examples, pretrained)
        model = load_trained(finetuning.model_path)
        entry |= {flag: head.report(model, part) for flag, part in examples.items() if flag != "train"}
        result = {
            "model": {
                "path": options.model,
                "parameters": pretrained.parameters,
                "fingerprint": pretrained.fingerprint,
            },
            "pretraining": pretraining_of(options.model),
            "data": {"train": options.train, "columns": dataclasses.asdict(labelled.columns), **labelled.counts},
            "notes": [f"task {task.name}: {labelled.why}", *labelled.told],
            "settings": {**protocol.settings, **labelled.settings, "seeds": seeds},
            "search": tried,
            "finetuning": {
                "device": device.name,
                "backend": keras.backend.backend(),
                "precision": device.precision,
                "seconds": entry["seconds"],
            },
            "tasks": {task.name: entry},
            "command": sys.argv,
        }
        run.write_json("metrics.json", result, checksum=False)
        page = write_page(result, run.path("metrics.html"))
        _print_result(task, entry, console)
        console.print(
            f"\nPage: {page}, metrics.json beside it; model of seed {entry['median_seed']}: {run.path('model.keras')}"
        )
    except Interrupted as interruption:
        console.print(f"stopped by {interruption}, everything is saved: the same command goes on from there.")
        return None
    finally:
        run.release()
    return result


def _protocol(options, labelled, width):
    """Returns the `Protocol`: the rule's settings, except what was asked for."""
    chosen = _settings_of(options, labelled, width, len(labelled.examples["train"]))
    length = labelled.kind.sequence_length or PROTOCOLS["budget"].sequence_length
    pairs = options.pairs if labelled.reads_pairs else "together"
    if pairs == "auto":
        pairs = "apart" if reads_pairs_apart(width) else "together"
    return dataclasses.replace(
        PROTOCOLS["budget"],
        name="file",
        description="rate from the encoder's width, epochs from the number of examples, or as asked for; last epoch",
        learning_rates=(chosen.learning_rate,),
        batch_sizes=(chosen.batch_size,),
        epochs=chosen.epochs,
        sequence_length=options.sequence_length or length,
        seeds=SEEDS,
        pairs=pairs,
    )


def _settings_of(options, labelled, width, examples):
    """Returns the `FinetuningSettings` for a number of examples (int), with what was asked for in place of the rule."""
    batch_size = options.batch_size or labelled.kind.batch_size
    chosen = finetuning_settings(width, examples, batch_size, labelled.task.classes)
    return dataclasses.replace(
        chosen,
        learning_rate=options.learning_rate or chosen.learning_rate,
        epochs=options.epochs or chosen.epochs,
    )


def _print_plan(labelled, protocol, seeds, console, search):
    task, examples = labelled.task, labelled.examples
    named = f", {counted(task.classes, 'label')}" if task.labels else ""
    console.print(f"task {task.name} ({labelled.kind.what}{named}): {labelled.why}")
    for sentence in (str(labelled.columns), *labelled.told):
        console.print(sentence)
    if labelled.reads_pairs:
        apart = protocol.pairs == "apart"
        console.print(f"Two texts are encoded {'apart' if apart else 'together, in one row'} (--pairs).")
    (configuration,) = protocol.configurations
    rate, rows = configuration["learning_rate"], configuration["batch_size"]
    steps = number(seeds * steps_of(protocol, len(examples["train"]), rows))
    if labelled.kind.name == "answer":
        steps = f"at least {steps} steps, as a context that is longer than a row has several"
    else:
        steps += " steps"
    console.print(
        f"{counted(seeds, 'run')} of {counted(protocol.epochs, 'epoch')} on "
        f"{counted(len(examples['train']), 'example')} in batches of {rows} with the rate {rate:.2g}"
        f"{', or one that --search finds' if search else ''}, {steps}\n"
    )


def _print_result(task, entry, console):
    for flag in [part for part in ("dev", "test") if part in entry]:
        for name, found in (("this model", entry[flag]["metrics"]), *_of_baselines(entry, flag)):
            console.print(f"{flag}, {name}: {', '.join(f'{key} {figure(key, found[key])}' for key in task.metrics)}")
    median = entry["metrics"][task.metric]["median"]
    no_worse = [name for name, found in _of_baselines(entry, "dev") if found[task.metric] >= median]
    if no_worse:
        console.print(f"No worse here, and it costs nothing: {', '.join(no_worse)}.")


def _of_baselines(entry, flag):
    return [(BASELINES[kind], found[flag]) for kind, found in entry["baselines"].items()]
