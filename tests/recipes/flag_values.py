"""Every flag of a recipe with values that nobody means, each tried in one process where Keras cannot be imported.

Run       python -m tests.recipes.flag_values RECIPE FOLDER

Prints a JSON list of [flag, value, outcome]. An outcome is `sentence` (code 2 and one line that names the flag or the
value), `read` (the recipe went on to Keras), or what is wrong, with the last line of what was printed.
"""

import contextlib
import importlib.util
import io
import json
import os
import signal
import sys
import zipfile
from pathlib import Path

from absl import flags

from budgetbert import command_line

REPOSITORY = Path(__file__).parents[2]
SECONDS = 60
NO_NUMBERS = (
    *("nan", "-nan", "inf", "-inf", "1e400", "-1", "-1e-320", "1e308", str(10**30), "-9223372036854775809", " ", "x"),
    *("0x10", "é", "None", "true", "1;2", "1 2", "9" * 5000, "\u202e1", "--", "$(id)", "%s"),
)
STRINGS = ("x", "é", "😀", "a" * 5000, "a/" * 3000, " ", "-", "--", ",", ":", "@", "nan", "%s%n", "\u202e", "/dev/null")
BUDGETS = (
    *("", "0s", "-1h", "1e400steps", "0.5steps", "1e-300s", "99999999d", "1e300EFLOP", "10M", "٣steps", "1h30m"),
)
# Of the flags that are given as text: what is read as a number, a share, an amount or an object.
AMOUNTS = {
    **dict.fromkeys(("budget", "run_budget", "total_budget"), BUDGETS),
    "checkpoint_every": ("", "0steps", "1e300steps", "1e-300s", "99999999999d", "1tokens", "-5m"),
    "mask_rate": ("", "0.3:", ":", "0.3,0.2@2", "0.3,0.2@nan", "nan:nan", "0.3,0.2@0.5,0.1@0.2", "0.15@0", "0"),
    "marks": ("0.5;0.7", "1.0000001", "0.5,nan", "0"),
    "early_stop": ("3h", "3h:nan", "3h:inf", "3h:-1", ":6", "3h:6:7", "0h:6", "1e400h:6", "5steps:1e309", "3h:1e300"),
    "betas": ("", "0.9", "0.9,1", "0.9,0.98,0.9", "nan,0.9", "0.9;0.98"),
    "clip_norm": ("", "0", "1e9", "no"),
    "devices": ("", "0", "٣", "auto2", "1.5"),
    "dedup": ("", "substring:", "substring:0", "substring:nan", "substring:" + "9" * 5000),
    "filter": ("", "t=0", "t=1", "t=nan", "t=", "t=1e-9"),
    "config": (
        *("", "{", "[]", "null", '"num_layers"', '{"layers": 2}', '{"num_layers": 0}', '{"num_layers": 1e400}'),
        *('{"num_layers": true}', '{"dropout": NaN}', '{"dropout": -0.1}', '{"norm": "none"}', "[" * 5000),
    ),
}
TEXTS = ("preset", "loggers", "tasks", "language", "text", "text_pair", "label", "negative", "sizes")
PATHS = (
    *("initial_model", "keep_an_eye_on", "corpus", "output_dir", "model", "glue_dir", "vocabulary", "vocabulary_from"),
    *("output", "grid", "train", "dev", "test", "input"),
)


def table(names):
    """The pairs of a flag and a value that nobody can mean, which all have to be refused."""
    pairs = []
    for name in names:
        flag = flags.FLAGS[name]
        if name in AMOUNTS:
            pairs += [(name, value) for value in (*AMOUNTS[name], *NO_NUMBERS)]
        elif flag.flag_type() in ("int", "float"):
            pairs += [(name, value) for value in ("", *NO_NUMBERS) if (flag.flag_type(), value) != ("int", "0x10")]
        elif flag.flag_type() in ("bool", "string enum"):
            pairs += [(name, value) for value in ("", *NO_NUMBERS) if (flag.flag_type(), value) != ("bool", "true")]
        elif name in (*TEXTS, *PATHS):
            # A folder may have almost any name.
            free = name in ("output_dir", "output")
            pairs += [(name, value) for value in STRINGS if not free or len(value) > 255 or value == "/dev/null"]
    # W&B and TensorBoard may be asked for with any white space and commas around.
    return [pair for pair in pairs if pair not in (("loggers", " "), ("loggers", ","), ("marks", " "))]


class Waited(BaseException):
    """A recipe took longer than it may."""


def outcome(main, name, value, given):
    """What a recipe makes of a value of one of its flags, with the other flags as given."""
    for flag in flags.FLAGS._flags().values():
        flag.unparse()
    sys.argv = ["recipe.py", *(f"--{key}={text}" for key, text in {**given, name: value}.items())]
    told, signalled = io.StringIO(), []

    def ring(*_):
        signalled.append(True)
        raise Waited

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            command_line.run(main)
        result = "read"
    except SystemExit as error:
        lines = told.getvalue().strip().splitlines()
        result = "sentence" if error.code == 2 and len(lines) == 1 else f"code {error.code}, {len(lines)} lines"
        if result != "sentence":
            result += f": {lines[-1][-200:] if lines else ''}"
        elif name not in lines[0] and value[:50] not in lines[0]:
            result = f"names nothing: {lines[0][:200]}"
    except ImportError as error:
        result = "read" if (error.name or "").startswith("keras") else f"traceback: {error!r}"
    except Waited:
        result = "hang"
    except BaseException as error:
        result = f"traceback: {error!r:.200}"
    finally:
        signal.alarm(0)
    return "hang" if signalled else result


def write_model(path):
    """Writes the parts of a `.keras` file that are read before Keras is imported, and returns its path."""
    sizes = {"vocabulary_size": 64, "num_layers": 2, "hidden_dim": 128, "norm_placement": "post", "use_bias": True}
    tokenizer = {"config": {"lowercase": True, "strip_accents": True, "normalizer": "bert"}}
    config = {
        "backbone": {"config": sizes},
        "preprocessor": {"config": {"tokenizer": tokenizer}},
        "head_transform": True,
        "output_bias": True,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"registered_name": ">BertBudgetMaskedLM", "config": config}))
        entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "word"]
        archive.writestr("assets/preprocessor/tokenizer/vocabulary.txt", "".join(f"{entry}\n" for entry in entries))
    return path


def main(recipe, folder):
    path = REPOSITORY / "recipes" / f"{recipe}.py"
    # A module that is None cannot be imported.
    sys.modules["keras"] = sys.modules["keras_hub"] = None
    spec = importlib.util.spec_from_file_location(recipe, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[recipe] = module
    spec.loader.exec_module(module)
    os.chdir(folder)
    ours = ("budgetbert.", recipe)
    names = [
        flag.name for of, found in flags.FLAGS.flags_by_module_dict().items() if of.startswith(ours) for flag in found
    ]
    Path("text.txt").write_text("A document of some words.\n\nAnother one.\n")
    Path("labelled.csv").write_text("text,label\n" + "good,1\nbad,0\n" * 4)
    given = {"output": "out.jsonl", "input": "labelled.csv"} if recipe == "predict" else {"output_dir": "out"}
    given |= {"train": "labelled.csv"} if recipe == "finetune" else {}
    given |= {"corpus": "text.txt"} if "corpus" in names else {"model": "text.txt"}
    given |= {"format": "onnx"} if recipe == "export_model" else {}
    given |= {"glue_dir": "."} if recipe == "finetune_glue" else {}
    if recipe == "continue_24h":
        given |= {"initial_model": write_model("model.keras")}
    if recipe == "search":
        Path("rates.json").write_text('{"learning_rate": [0.001, 0.002]}')
        given |= {"recipe": "frontier", "grid": "rates.json", "run_budget": "24steps", "total_budget": "80steps"}
    pairs = table(sorted(names))
    print(json.dumps([[name, value[:60], outcome(module.main, name, value, given)] for name, value in pairs]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
