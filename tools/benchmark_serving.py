"""Latency of an exported classifier on raw strings, against Hugging Face's of the same size in PyTorch, in one run.

Both get the same texts and answer with labels, tokenizing included, in turn, A B A B ...; medians are printed for each
batch size and length. With onnxruntime and onnxscript installed the ONNX export is timed, tokenized by `tokenizers`.
Ours is also timed on rows that are always padded to 128, which is what dynamic length saves. With --accuracy FILE (a
table of SST-2: `.tsv`, or `.tsv.xz`, with columns sentence and label) and --model, a classifier finetuned on it, the
accuracy with float32, float16 and int8 weights is measured as well.

Run       python tools/benchmark_serving.py --preset mini_bert --seconds 60 --json serving.json
"""

import csv
import functools
import itertools
import lzma
import os
import statistics
import sys
import tempfile

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else PyTorch's threads spin on after a call, at others' cost
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import harness
from absl import app, flags, logging

flags.DEFINE_string("preset", "mini_bert", "Architecture with random weights; the peer is its export.")
flags.DEFINE_string("model", None, "A finetuned classifier instead, with a peer in transformers.")
flags.DEFINE_string("accuracy", None, "A table with columns sentence and label.")
flags.DEFINE_list("batches", ["1", "8", "32"], "Texts in a request.")
flags.DEFINE_list("lengths", ["16", "128"], "Tokens in a text, [CLS] and [SEP] included.")
flags.DEFINE_float("seconds", 60, "How long to measure, for all together.", 1)
flags.DEFINE_string("json", None, "File for the figures.")
FLAGS = flags.FLAGS

FIXED_LENGTH = 128
OURS = {"float32": "ours", "float16": "ours, float16 weights", "int8": "ours, int8 weights"}


def make_classifier(preset):
    """A classifier of two classes with random weights and a vocabulary of synthetic words."""
    from budgetbert import models
    from budgetbert.presets import PRESETS
    from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS

    sizes = PRESETS[preset]["backbone"]
    words = ["".join(letters) for letters in itertools.product("abcdefgh", repeat=5)][: sizes["vocabulary_size"] - 5]
    preprocessor = models.BertBudgetTextClassifierPreprocessor(
        models.BertBudgetTokenizer([*SPECIAL_TOKENS, *words]), sequence_length=FIXED_LENGTH
    )
    return models.BertBudgetTextClassifier.from_preset(
        preset, load_weights=False, num_classes=2, preprocessor=preprocessor, label_names=["no", "yes"]
    )


def make_texts(model, batch, length):
    """`batch` texts (list of str), each of `length` tokens with [CLS] and [SEP]."""
    import numpy as np

    tokenizer = model.preprocessor.tokenizer
    entries = [entry for entry in tokenizer.get_vocabulary() if entry.isascii() and entry.isalpha()]
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(entries, length - 2)) for _ in range(batch)]


def served(folder):
    """The signature of the newest version in `folder` as a function of a list of str."""
    import tensorflow as tf

    version = max(int(name) for name in os.listdir(folder) if name.isdecimal())
    signature = tf.saved_model.load(os.path.join(folder, str(version))).signatures["serving_default"]
    return lambda texts: signature(text=tf.constant(texts))["label"].numpy().astype(str).tolist()


def fixed_length(model):
    """Our model on rows padded to FIXED_LENGTH, compiled, as a function of a list of str."""
    import tensorflow as tf

    from budgetbert.export import signatures
    from budgetbert.models.logits import label_names

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def classify(text):
        row = signatures.pack(model.preprocessor.tokenizer, [text], FIXED_LENGTH)
        missing = FIXED_LENGTH - tf.shape(row["token_ids"])[1]
        row = {key: tf.pad(value, [[0, 0], [0, missing]]) for key, value in row.items()}
        return tf.gather(label_names(model), tf.argmax(model(row, training=False), axis=-1))

    return lambda texts: classify(tf.constant(texts)).numpy().astype(str).tolist()


def hugging_face(folder):
    """The peer in PyTorch as a function of a list of str, padded to the longest text."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def classify(texts):
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            ids = model(**inputs).logits.argmax(-1)
        return [model.config.id2label[index] for index in ids.tolist()]

    return classify


def onnx_runtime(folder, labels):
    """The ONNX export under ONNX Runtime as a function of a list of str."""
    import numpy as np
    import onnxruntime
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), options)

    def classify(texts):
        encoded = tokenizer.encode_batch(texts)
        inputs = {"token_ids": "ids", "padding_mask": "attention_mask", "segment_ids": "type_ids"}
        inputs = {key: np.array([getattr(e, name) for e in encoded], "int32") for key, name in inputs.items()}
        return [labels[index] for index in session.run(["logits"], inputs)[0].argmax(-1)]

    return classify


def time_each(systems, texts, seconds):
    """Median seconds of a call of each system on `texts`, measured in turn."""
    calls = {name: functools.partial(call, texts) for name, call in systems.items()}
    # The first call of a turn does not count: threads of the system before may still spin.
    times = harness.take_turns(calls, seconds, least=3, fetch=len, warm=1)
    return {name: statistics.median(values) for name, values in times.items()}


def accuracies(systems, labels, path):
    """Share of right labels by system on a table of sentences and labels (numbers of the classes, or their names).

    Returns:
        `(dict of float by system, number of rows)`.
    """
    open_text = lzma.open if path.endswith(".xz") else open
    with open_text(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    right = dict.fromkeys(systems, 0)
    for start in range(0, len(rows), 32):
        batch = rows[start : start + 32]
        for name, call in systems.items():
            answers = call([row["sentence"] for row in batch])
            right[name] += sum(
                row["label"] in (answer, str(labels.index(answer))) for row, answer in zip(batch, answers, strict=True)
            )
    return {name: count / len(rows) for name, count in right.items()}, len(rows)


def main(arguments):
    logging.set_verbosity(logging.WARNING)  # what TensorFlow tells while it saves
    import importlib.util

    from budgetbert.export.export import export_model
    from budgetbert.models.loading import load_trained
    from budgetbert.models.logits import label_names
    from budgetbert.presets import PRESETS
    from budgetbert.training.plan import device as devices

    if not FLAGS.model and FLAGS.preset not in PRESETS:
        sys.exit(f"--preset {FLAGS.preset} is unknown: take one of {', '.join(PRESETS)}.")
    with tempfile.TemporaryDirectory() as folder:
        path = FLAGS.model
        if not path:
            path = os.path.join(folder, "model.keras")
            make_classifier(FLAGS.preset).save(path)
        model = load_trained(path)
        labels = label_names(model)
        for weights in OURS:
            export_model(path, "serving", os.path.join(folder, weights), weights)
        export_model(path, "transformers", os.path.join(folder, "transformers"))
        systems = {
            "peer": hugging_face(os.path.join(folder, "transformers")),
            **{name: served(os.path.join(folder, weights)) for weights, name in OURS.items()},
            "ours, padded to 128": fixed_length(model),
        }
        if all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime", "transformers")):
            export_model(path, "onnx", os.path.join(folder, "onnx"))
            systems["ours, ONNX Runtime"] = onnx_runtime(os.path.join(folder, "onnx"), labels)
        cases = list(itertools.product(map(int, FLAGS.batches), map(int, FLAGS.lengths)))
        measured = []
        for batch, length in cases:
            times = time_each(systems, make_texts(model, batch, length), FLAGS.seconds / len(cases))
            ratios = {name: times["peer"] / seconds for name, seconds in times.items() if name != "peer"}
            milliseconds = {name: 1e3 * seconds for name, seconds in times.items()}
            measured.append({"batch": batch, "length": length, "milliseconds": milliseconds, "ratios": ratios})
        result = {
            "device": devices.device_name(),
            "model": FLAGS.model or FLAGS.preset,
            "ours": {"milliseconds": measured[0]["milliseconds"]["ours"], "texts": cases[0][0], "tokens": cases[0][1]},
            "peer": {
                "milliseconds": measured[0]["milliseconds"]["peer"],
                "model": "transformers, eager float32 PyTorch",
            },
            "ratio": statistics.geometric_mean(case["ratios"]["ours"] for case in measured),
            "cases": measured,
        }
        if FLAGS.accuracy:
            judged = {weights: systems[name] for weights, name in OURS.items()}
            result["accuracy"], result["accuracy_examples"] = accuracies(judged, labels, FLAGS.accuracy)
    report(result)
    harness.write_json(result, FLAGS.json)


def report(result):
    """Prints the figures."""
    print(f"{result['model']}, {result['device']}; the peer: {result['peer']['model']}")
    for case in result["cases"]:
        print(f"  {case['batch']} texts of {case['length']} tokens")
        for name, milliseconds in case["milliseconds"].items():
            ratio = f"  ratio {case['ratios'][name]:.2f}" if name in case["ratios"] else ""
            print(f"    {name:24s} {milliseconds:9.2f} ms  {1e3 * case['batch'] / milliseconds:9,.0f} texts/s{ratio}")
    print(f"  ratio {result['ratio']:.2f} (the peer's time over ours, geometric mean of the cases)")
    for weights, accuracy in result.get("accuracy", {}).items():
        print(f"  accuracy with {weights:8s} {accuracy:.4f} of {result['accuracy_examples']}")


if __name__ == "__main__":
    app.run(main)
