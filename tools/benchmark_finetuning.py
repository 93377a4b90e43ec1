"""Finetuning with batches padded to their own length against rows always padded to 128, in one run.

The same model, the same texts, batches of 16 in turn, A B A B ...; the mean over all lengths is printed, since a median
would leave out the longest.

Run       python tools/benchmark_finetuning.py --glue_dir GLUE --task rte --preset mini_crammed --seconds 60
"""

import json
import os
import statistics
import time

os.environ.setdefault("BUDGETBERT_WITHOUT_KERAS", "1")  # flags are read and the backend is chosen before its import

from absl import flags

from budgetbert import command_line
from budgetbert.command_line import InputError

flags.DEFINE_string("glue_dir", None, "A folder in GLUE's official layout, or hub.")
flags.DEFINE_string("task", "rte", "Whose texts.")
flags.DEFINE_string("preset", "mini_crammed", "The encoder's architecture; its weights are random.")
flags.DEFINE_integer("vocabulary_size", 8192, "Of a vocabulary made of the texts.", 100)
flags.DEFINE_integer("batch_size", 16, "Rows of a step.", 1)
flags.DEFINE_enum("precision", "auto", ["auto", "float32", "mixed_bfloat16"], "What to compute in.")
flags.DEFINE_float("seconds", 60, "How long to measure, for both together.", 1)
flags.DEFINE_string("json", None, "File for the figures.")
FLAGS = flags.FLAGS

SEQUENCE_LENGTH = 128
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_tokenizer(examples, size):
    """Returns a `BertBudgetTokenizer` of the texts' own words."""
    from tokenizers import Tokenizer as HuggingFaceTokenizer
    from tokenizers import models, pre_tokenizers, trainers

    from budgetbert.models import BertBudgetTokenizer

    trained = HuggingFaceTokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False)
    trained.train_from_iterator((text.lower() for column in examples.texts for text in column), trainer)
    entries = trained.get_vocab()
    return BertBudgetTokenizer(sorted(entries, key=entries.get))


def main():
    if not FLAGS.glue_dir:
        raise InputError("--glue_dir is missing: see --help.")
    command_line.start_keras()
    import keras

    from budgetbert.batches import stack
    from budgetbert.glue import data
    from budgetbert.glue.batches import EncodedExamples, TrainingBatches
    from budgetbert.glue.classifier import Pretrained
    from budgetbert.models import BertBudgetMaskedLM, BertBudgetMaskedLMPreprocessor
    from budgetbert.training import devices
    from budgetbert.training.objectives import Classification
    from budgetbert.training.update import make_update

    task = data.choose_tasks(FLAGS.task, data.open_source(FLAGS.glue_dir))[0][0]
    examples = data.open_source(FLAGS.glue_dir).read(task, task.train)
    tokenizer = make_tokenizer(examples, FLAGS.vocabulary_size)
    preprocessor = BertBudgetMaskedLMPreprocessor(tokenizer, SEQUENCE_LENGTH)
    size = -(-tokenizer.vocabulary_size() // 64) * 64
    masked_lm = BertBudgetMaskedLM.from_preset(
        FLAGS.preset, load_weights=False, preprocessor=preprocessor, vocabulary_size=size
    )
    precision, _ = devices.choose_precision(FLAGS.precision)
    model = Pretrained(masked_lm).make_classifier(task, 0.1, SEQUENCE_LENGTH, precision)
    update = make_update(model, keras.optimizers.AdamW(weight_decay=0.01), Classification())
    feeds, lengths = {}, {}
    for name, fixed in (("ours", False), ("peer", True)):
        encoded = EncodedExamples(examples, tokenizer, SEQUENCE_LENGTH, fixed_length=fixed)
        feeds[name] = TrainingBatches(encoded, FLAGS.batch_size, 0, True, 10**9).read(0, 0)
        lengths[name] = []

    def step(name):
        batch = next(feeds[name])
        lengths[name].append(batch["token_ids"].shape[1])
        began = time.perf_counter()
        update.accumulate(stack([batch], 1), 1, 0)
        float(update.apply(4e-5)["gradient_norm"])
        return time.perf_counter() - began

    # each length is compiled once, which does not count; a finetuning of some minutes sees each a hundred times
    seen, seconds = set(), {"ours": [], "peer": []}
    start = time.perf_counter()
    while time.perf_counter() - start < FLAGS.seconds or len(seconds["ours"]) < 3:
        for name in feeds:
            taken = step(name)
            if lengths[name][-1] in seen:
                seconds[name].append(taken)
            seen.add(lengths[name][-1])
    speed = {name: FLAGS.batch_size / statistics.fmean(values) for name, values in seconds.items()}
    result = {
        "device": devices.device_name(),
        "backend": keras.backend.backend(),
        "precision": precision,
        "task": task.name,
        "preset": FLAGS.preset,
        "ours": {"examples_per_second": speed["ours"], "mean_length": statistics.fmean(lengths["ours"])},
        "peer": {"examples_per_second": speed["peer"], "mean_length": statistics.fmean(lengths["peer"])},
        "steps": len(seconds["ours"]),
        "ratio": speed["ours"] / speed["peer"],
    }
    print(f"{task.title}, {FLAGS.preset}, {result['device']}, {result['backend']}, {precision}")
    for name, label in (("ours", "padded to the batch"), ("peer", "padded to 128")):
        print(f"  {label:20} {speed[name]:7,.0f} texts/s, {result[name]['mean_length']:.0f} tokens a row")
    print(f"  ratio {result['ratio']:.2f}")
    if FLAGS.json:
        with open(FLAGS.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    command_line.run(main)
