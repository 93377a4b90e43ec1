"""Speed of finetuning and of prediction, against transformers' Trainer and pipeline with the same model, in one run.

Both start from one encoder with random weights and read the same texts (banking77 of BUDGETBERT_DATA, else made ones),
both put texts of similar length together. Commands are timed whole, as people run them, A B A B ...; beside them stands
what of a finetuning is training, by the log of each. The peer runs in float32 and in bfloat16, and the faster one
counts.

Run       python tools/benchmark_finetuning.py --preset mini_bert --rounds 3 --json finetuning.json
Time      12 minutes on two quiet cores
"""

import csv
import itertools
import json
import lzma
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

import harness
from absl import app, flags

flags.DEFINE_integer("texts", 3000, "Labelled texts to finetune on, for one epoch.", 64)
flags.DEFINE_integer("predicted", 10_000, "Texts to label.", 64)
flags.DEFINE_integer("batch_size", 32, "Texts of an update; twice as many are labelled at once.", 1)
flags.DEFINE_integer("rounds", 3, "How often each command runs.", 1)
harness.define_flags(preset="mini_bert")
FLAGS = flags.FLAGS

_ROOT = pathlib.Path(__file__).parents[1]
_RATE, _PEERS = 3e-4, ("float32", "bfloat16")
# Under so many texts 77 labels would have too few each.
_MANY = 1000


def main(arguments):
    harness.start(FLAGS.backend, FLAGS.preset)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        texts = (FLAGS.texts >= _MANY and real_texts()) or made_texts()
        write(folder / "train.csv", itertools.islice(itertools.cycle(texts), FLAGS.texts))
        write(folder / "new.csv", itertools.islice(itertools.cycle(texts), FLAGS.predicted))
        make_encoder(folder, [text for text, _ in texts])
        taken = {}
        for number in range(FLAGS.rounds):
            for system in ("ours", *_PEERS):
                for key, seconds in run_round(folder, system, number).items():
                    taken.setdefault(key, {}).setdefault(system, []).append(seconds)
    from budgetbert.training.plan.device import device_name

    result = {"device": device_name(), "preset": FLAGS.preset, "backend": FLAGS.backend, "rounds": FLAGS.rounds}
    result |= {"texts": FLAGS.texts, "predicted": FLAGS.predicted, "seconds": taken, "ratios": ratios(taken)}
    report(result)
    harness.write_json(result, FLAGS.json)


def ratios(taken):
    """Returns the time of the faster peer over ours (dict of floats), by medians."""
    medians = {key: {name: statistics.median(found) for name, found in part.items()} for key, part in taken.items()}
    return {key: min(part[name] for name in _PEERS) / part["ours"] for key, part in medians.items()}


def real_texts():
    """Returns texts of banking77 with their labels, those of the test set behind the others; none where it is not."""
    folder = pathlib.Path(os.environ.get("BUDGETBERT_DATA", ""), "finetune", "textclass", "banking77")
    rows = []
    for name in ("train.csv.xz", "test.csv.xz"):
        if (folder / name).exists():
            with lzma.open(folder / name, "rt", encoding="utf-8", newline="") as file:
                rows += [(row["text"], row["category"]) for row in csv.DictReader(file)]
    random.Random(0).shuffle(rows)
    return rows


def made_texts():
    """Returns texts of 3 to 60 words with labels of two classes."""
    draw = random.Random(0)
    words = ["".join(letters) for letters in itertools.product("abcdefgh", repeat=4)]
    return [(" ".join(draw.choices(words, k=draw.randint(3, 60))), draw.choice(("no", "yes"))) for _ in range(2000)]


def write(path, rows):
    """Writes a table with the columns text and label."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def make_encoder(folder, texts):
    """Saves one encoder as `model.keras` and as a folder of transformers, its vocabulary trained on the texts."""
    from tokenizers import BertWordPieceTokenizer

    from budgetbert import BertBudgetMaskedLM, BertBudgetMaskedLMPreprocessor, BertBudgetTokenizer
    from budgetbert.export.export import export_model

    learned = BertWordPieceTokenizer(lowercase=True)
    learned.train_from_iterator(texts, vocab_size=4096, show_progress=False)
    entries = sorted(learned.get_vocab(), key=learned.get_vocab().get)
    preprocessor = BertBudgetMaskedLMPreprocessor(BertBudgetTokenizer(entries), sequence_length=128)
    sizes = {"load_weights": False, "vocabulary_size": len(entries)}
    BertBudgetMaskedLM.from_preset(FLAGS.preset, preprocessor=preprocessor, **sizes).save(folder / "model.keras")
    export_model(str(folder / "model.keras"), "transformers", str(folder / "transformers"))


def run_round(folder, system, number):
    """Finetunes and predicts once; returns the seconds of both commands, and those of training alone (dict)."""
    output, labelled = folder / f"{system}-{number}", folder / f"{system}-{number}.jsonl"
    rate, batch = str(_RATE), str(FLAGS.batch_size)
    if system == "ours":
        flags_of = {"model": folder / "model.keras", "train": folder / "train.csv", "dev": folder / "train.csv"}
        flags_of |= {"output_dir": output, "learning_rate": rate, "batch_size": batch, "epochs": 1, "seeds": 1}
        finetune = ["recipes/finetune.py", *words({**flags_of, "precision": FLAGS.precision, "task": "classify"})]
        flags_of = {"model": output / "model.keras", "input": folder / "new.csv", "output": labelled}
        predict = ["recipes/predict.py", *words({**flags_of, "text": "text", "batch_size": 2 * FLAGS.batch_size})]
    else:
        given = (folder / "transformers", output, folder / "train.csv", batch, rate, system)
        finetune = ["tools/peers/trainer.py", "train", *map(str, given)]
        given = (output, folder / "new.csv", labelled, 2 * FLAGS.batch_size, system)
        predict = ["tools/peers/trainer.py", "predict", *map(str, given)]
    finetuning, printed = timed(finetune)
    prediction, _ = timed(predict)
    if system == "ours":
        training = json.loads((output / "metrics.json").read_text())["finetuning"]["seconds"]
    else:
        training = json.loads(printed.splitlines()[-1])["seconds"]
    return {"finetuning, whole command": finetuning, "its training": training, "prediction, whole command": prediction}


def words(given):
    return [str(word) for name, value in given.items() for word in (f"--{name}", value)]


def timed(command):
    """Runs a program of this repository; returns its seconds and what it printed. If it fails, ends with that."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *sys.path])}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(_ROOT / command[0]), *command[1:]], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return time.perf_counter() - began, done.stdout


def report(result):
    """Prints the figures."""
    print(
        f"{result['preset']} on {result['backend']}, {result['device']}; {result['texts']:,} texts to train on, "
        f"{result['predicted']:,} to label, medians of {result['rounds']}"
    )
    for key, part in result["seconds"].items():
        found = ", ".join(f"{name} {statistics.median(seconds):.1f} s" for name, seconds in part.items())
        print(f"  {key:26s} {found}: ratio {result['ratios'][key]:.2f} (the faster peer's time over ours)")


if __name__ == "__main__":
    app.run(main)
