"""Continued pretraining beside transformers and beside random weights, on real text: is it right, and is it worth it?

A BERT of transformers (4 x 256, 8,192 entries of BertWordPieceTokenizer) is pretrained by transformers itself on half
of `wikipedia`, until its held-out loss is `--below` nats under the unigram entropy. It is continued here on `novels`:
the first validation loss against transformers' own on the same masks, the loss after equal FLOPs against a run from
random weights, and what transformers makes of the export. The same with a vocabulary that is extended, and with text
of another language and a vocabulary of its own. What is done is kept, so a killed comparison goes on.

Run       python tools/compare_continuation.py --output_dir runs/continuation
Time      hours on two cores for the checkpoint, once; then two runs of --budget
Text      `corpus/wikipedia` and `corpus/novels` of BUDGETBERT_DATA
"""

import itertools
import json
import lzma
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
from absl import flags

from budgetbert import command_line, files
from budgetbert.batches import ALL_MASKED, Masking
from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.errors import InputError

flags.DEFINE_string("output_dir", None, "Folder for the checkpoint, corpora, runs and the result.")
flags.DEFINE_list("old", None, "Files of .jsonl.xz for transformers; half of wikipedia by default.")
flags.DEFINE_list("new", None, "Those to go on with; novels by default.")
flags.DEFINE_list("other", None, "Text of another language, with a vocabulary of its own; without it none is tried.")
flags.DEFINE_string("budget", "10TFLOP", "FLOPs of the continued run, and of the one from random weights.")
flags.DEFINE_float("below", 0.5, "How far under the unigram entropy the checkpoint has to be, in nats.", 0.0, 5.0)
flags.DEFINE_float("hours", 12.0, "How long transformers may train at most; what it has by then is continued.", 0.0)
flags.DEFINE_float("learning_rate", 3e-4, "Peak of the continued run; see continue_24h for batches of other sizes.")
FLAGS = flags.FLAGS

ENTRIES, LENGTH, ROWS = 8192, 64, 64
SIZES = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
SIZES |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_REPOSITORY = pathlib.Path(__file__).parents[1]
_HELD_OUT_ROWS, _EVALUATE_EVERY = 256, 250
# Entries that a vocabulary is extended by, and the step at which the starts of new rows are compared.
_ADDED, _EARLY_STEP = 1000, 100
_RATE, _WARMUP = 3e-3, 200
# Positions that start as large as tokens keep so narrow a model at the unigram entropy for thousands of steps.
_POSITIONS = 0.1


def main():
    if not FLAGS.output_dir:
        raise InputError("--output_dir is missing: name the folder for the checkpoint, corpora, runs and the result.")
    output, wikipedia = pathlib.Path(FLAGS.output_dir), files_of("wikipedia")
    texts = {"old": FLAGS.old or wikipedia[: len(wikipedia) // 2], "new": FLAGS.new or files_of("novels")}
    if not all(texts.values()):
        raise InputError("BUDGETBERT_DATA has no corpus/wikipedia or no corpus/novels: give --old and --new.")
    output.mkdir(parents=True, exist_ok=True)
    checkpoint = str(output / "bert")
    make_tokenizer(checkpoint, texts["old"])
    options = {"vocabulary_from": checkpoint, "sequence_length": LENGTH, "row_start": "cls"}
    old, new = (prepare_corpus(",".join(texts[name]), output / name, **options) for name in ("old", "new"))
    pretrained = pretrain_by_transformers(checkpoint, old)
    equal = {"--corpus": new.directory, "--budget": FLAGS.budget, "--batch_size": 64, "--early_stop": "none"}
    continued = {"--initial_model": checkpoint, "--learning_rate": FLAGS.learning_rate}
    continued |= {"--keep_an_eye_on": old.directory}
    ours = run("continue_24h", output / "continued", {**equal, **continued})
    fresh = run("academic_24h", output / "random", {**equal, "--preset": "mini_bert"})
    theirs = loss_of_transformers(checkpoint, new, ours["plan"]["validation_rows"])
    result = {
        "pretrained": pretrained,
        "first_loss": ours["final"]["first_validation_loss"],
        "first_loss_of_transformers": theirs,
        "difference": abs(ours["final"]["first_validation_loss"] - theirs),
        "last_loss": ours["final"]["validation_loss"],
        "last_loss_from_random_weights": fresh["final"]["validation_loss"],
        "gain": fresh["final"]["validation_loss"] - ours["final"]["validation_loss"],
        "unigram_entropy": new.validation_unigram_entropy,
        "old_text": [ours["final"]["first_validation_old_loss"], ours["final"]["validation_old_loss"]],
        "flops": [ours["final"]["flops"], fresh["final"]["flops"]],
        **export(output, checkpoint, new, texts["new"]),
    }
    corpora = {"extended": (texts["new"], {"vocabulary_from": checkpoint, "extend_vocabulary": _ADDED})}
    if FLAGS.other:
        corpora["other"] = (FLAGS.other, {"vocabulary_size": ENTRIES})
    for name, (text, vocabulary) in corpora.items():
        corpus = prepare_corpus(",".join(text), output / name, **{**options, "vocabulary_from": None, **vocabulary})
        result[name] = on_another_vocabulary(output, name, corpus, {**equal, **continued})
    files.write(output / "result.json", json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def on_another_vocabulary(output, name, corpus, given):
    """Continues the checkpoint on a corpus with other entries, and trains from random weights with the same entries.

    Returns:
        dict: `tokens_per_character` of the corpus, by which losses of several vocabularies compare, and for both runs
        the held-out loss (nats a token) at the start, at about 100 steps and at the end.
    """
    given = {key: value for key, value in given.items() if key != "--keep_an_eye_on"} | {"--corpus": corpus.directory}
    fresh = {key: value for key, value in given.items() if key not in ("--initial_model", "--learning_rate")}
    runs = {
        "continued": run("continue_24h", output / f"{name}-continued", given),
        "random": run("academic_24h", output / f"{name}-random", {**fresh, "--preset": "mini_bert"}),
    }
    characters = sum(source["characters"] for source in corpus.manifest["sources"])
    losses = {}
    for kind, done in runs.items():
        judged = [(line["step"], line["validation_loss"]) for line in done["lines"] if "validation_loss" in line]
        losses[kind] = [judged[0], min(judged, key=lambda one: abs(one[0] - _EARLY_STEP)), judged[-1]]
    return {
        "entries": len(corpus.vocabulary),
        "unigram_entropy": corpus.validation_unigram_entropy,
        "tokens_per_character": sum(corpus.manifest["counts"]["tokens"].values()) / characters,
        **losses,
    }


def files_of(name):
    """Returns the paths (list of str) of the training text of a corpus of BUDGETBERT_DATA."""
    folder = pathlib.Path(os.environ.get("BUDGETBERT_DATA", ""), "corpus", name)
    return [str(path) for path in sorted(folder.glob("train-*.jsonl.xz"))]


def make_tokenizer(folder, text):
    """Trains a BertWordPieceTokenizer, and saves it with a BERT of random weights as transformers does."""
    if os.path.exists(os.path.join(folder, "config.json")):
        return
    import torch
    import transformers
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(documents_of(text), vocab_size=ENTRIES, show_progress=False)
    os.makedirs(folder, exist_ok=True)
    tokenizer.save_model(folder)
    transformers.BertTokenizerFast.from_pretrained(folder, do_lower_case=True).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=ENTRIES, **SIZES)
    model = transformers.BertForMaskedLM(config)
    with torch.no_grad():
        model.bert.embeddings.position_embeddings.weight.mul_(_POSITIONS)
    model.save_pretrained(folder)


def documents_of(text):
    """Yields the documents (str) of some `.jsonl.xz` files."""
    for name in text:
        with lzma.open(name, "rt", encoding="utf-8") as file:
            yield from (json.loads(line)["text"] for line in file)


def pretrain_by_transformers(folder, corpus):
    """Trains the checkpoint with transformers' model and collator until it is below the unigram entropy.

    Returns:
        dict: `steps`, `hours` and `below`, the nats under the unigram entropy.
    """
    import torch
    import transformers

    told = pathlib.Path(folder, "pretrained.json")
    state = json.loads(told.read_text()) if told.exists() else {"steps": 0, "hours": 0.0, "below": -np.inf}
    if state["below"] >= FLAGS.below or state["hours"] >= FLAGS.hours:
        return state
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertForMaskedLM.from_pretrained(folder)
    collate = transformers.DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=0.15, mask_replace_prob=1.0, random_replace_prob=0.0
    )
    matrices = [value for name, value in model.bert.encoder.named_parameters() if value.ndim == 2]
    others = [value for value in model.parameters() if not any(value is matrix for matrix in matrices)]
    optimizers = (
        torch.optim.Muon(matrices, lr=_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=_RATE, betas=(0.9, 0.98), weight_decay=0.01),
    )
    if os.path.exists(os.path.join(folder, "optimizer.pt")):
        states = torch.load(os.path.join(folder, "optimizer.pt"), weights_only=True)
        for optimizer, known in zip(optimizers, states, strict=True):
            optimizer.load_state_dict(known)
    rows = corpus.rows("train")
    for step in itertools.count(state["steps"]):
        started = time.monotonic()
        torch.manual_seed(step)
        chosen = np.random.default_rng(step).integers(0, len(rows), ROWS)
        batch = collate([{"input_ids": row.astype(int).tolist()} for row in rows[np.sort(chosen)]])
        for group in itertools.chain.from_iterable(optimizer.param_groups for optimizer in optimizers):
            group["lr"] = _RATE * min(1.0, (step + 1) / _WARMUP)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.train().bert(batch["input_ids"]).last_hidden_state.float()
        chosen = batch["labels"] >= 0  # The other tokens need no logits.
        torch.nn.functional.cross_entropy(model.cls(hidden[chosen]), batch["labels"][chosen]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        state["hours"] += (time.monotonic() - started) / 3600
        if (step + 1) % _EVALUATE_EVERY and state["hours"] < FLAGS.hours:
            continue
        state["steps"] = step + 1
        state["below"] = corpus.validation_unigram_entropy - masked_loss(model.eval(), corpus, _HELD_OUT_ROWS)
        print(f"transformers, step {step + 1:,}: {state['below']:+.3f} nats below the unigram entropy", flush=True)
        model.save_pretrained(folder)
        torch.save([optimizer.state_dict() for optimizer in optimizers], os.path.join(folder, "optimizer.pt"))
        files.write(told, json.dumps(state))
        if state["below"] >= FLAGS.below or state["hours"] >= FLAGS.hours:
            return state


def loss_of_transformers(folder, corpus, rows):
    """Returns what transformers' own model loses on the held-out rows, with the masks of a run's validation."""
    import transformers

    return masked_loss(transformers.BertForMaskedLM.from_pretrained(folder).eval(), corpus, rows)


def masked_loss(model, corpus, rows):
    """Returns the mean loss (float, nats) of a model of transformers where each chosen token stands behind [MASK]."""
    import torch

    masking = Masking(0.15, corpus.vocabulary, corpus.special_ids, 0, shares=ALL_MASKED)
    total, count = 0.0, 0
    for first in range(0, min(rows, len(corpus.rows("validation"))), ROWS):
        last = min(first + ROWS, rows, len(corpus.rows("validation")))
        batch = masking(corpus.rows("validation")[np.arange(first, last)], first)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(batch["token_ids"].astype(int))).logits.double()
        used = torch.tensor(batch["weights"] > 0)
        at = torch.tensor(batch["mask_positions"].astype(int))[..., None].expand(-1, -1, logits.shape[-1])
        chosen, labels = logits.gather(1, at)[used], torch.tensor(batch["labels"].astype(int))[used]
        total += torch.nn.functional.cross_entropy(chosen, labels, reduction="sum").item()
        count += len(labels)
    return total / count


def run(recipe, directory, given):
    """Runs a recipe to its end and returns the lines of its log, the last one, and its plan (dict)."""
    arguments = [
        str(word) for pair in {**given, "--precision": "float32", "--output_dir": directory}.items() for word in pair
    ]
    subprocess.run([sys.executable, _REPOSITORY / "recipes" / f"{recipe}.py", *arguments], check=True)
    lines = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    return {"lines": lines, "final": lines[-1], "plan": json.loads((directory / "plan.json").read_text())}


def export(output, checkpoint, corpus, text):
    """Exports the continued model, and returns how far logits and ids of transformers are from ours."""
    folder, program = output / "exported", _REPOSITORY / "recipes" / "export_model.py"
    model = output / "continued" / "model.keras"
    if not folder.exists():
        arguments = ["--model", model, "--format", "transformers", "--output_dir", folder]
        subprocess.run([sys.executable, program, *map(str, arguments)], check=True)
    command_line.start_keras()
    import keras
    import torch
    import transformers

    import budgetbert.models  # noqa: F401 (it registers the classes of the file)

    ours, theirs = keras.models.load_model(model), transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids = corpus.rows("validation")[np.arange(8)].astype("int32")
    inputs = {"token_ids": ids, "padding_mask": None, "segment_ids": None}
    positions = np.tile(np.arange(ids.shape[1], dtype="int32"), (len(ids), 1))
    logits = keras.ops.convert_to_numpy(ours({**inputs, "mask_positions": positions}, training=False))
    with torch.no_grad():
        other = theirs(input_ids=torch.tensor(ids.astype(int))).logits.numpy()
    documents = itertools.islice(documents_of(text), 5)
    lines = [line for document in documents for line in document.split("\n")]
    before, after = (transformers.AutoTokenizer.from_pretrained(name) for name in (checkpoint, folder))
    differing = sum(
        not (
            before(line)["input_ids"][1:-1]
            == after(line)["input_ids"][1:-1]
            == [int(i) for i in ours.preprocessor.tokenizer(line)]
        )
        for line in lines
    )
    return {
        "largest_difference_of_logits": float(np.abs(logits - other).max()),
        "lines": len(lines),
        "lines_whose_ids_differ": differing,
    }


if __name__ == "__main__":
    command_line.run(main)
