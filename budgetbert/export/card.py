"""The model card of an export: where the model comes from, what it is for, and how to load it."""

import os

from budgetbert.budget import describe, describe_seconds
from budgetbert.command_line import InputError
from budgetbert.export.snippets import snippets
from budgetbert.export.transformers import has_architecture
from budgetbert.models import BertBudgetTextClassifier
from budgetbert.training.record import read_json, read_record

FORMATS = {
    "serving": "a SavedModel for TensorFlow Serving",
    "transformers": "a folder for Hugging Face Transformers",
    "onnx": "an ONNX model",
    "litert": "a LiteRT model",
}


def write_card(directory, model, model_path, export_format, name):
    """Writes `directory/README.md`.

    Args:
        directory: string. The export.
        model: `BertBudgetTextClassifier` or `BertBudgetMaskedLM` with a preprocessor.
        model_path: string. The `.keras` file; what stands beside it (a run, `glue.json`) is reported, of a
            finetuned task what `glue.json` above its folder says.
        export_format: string. A key of `FORMATS`.
        name: string. What the export's folder is called.
    """
    text = render(model, model_path, export_format, name)
    with open(os.path.join(directory, "README.md"), "w", encoding="utf-8") as file:
        file.write(text)


def render(model, model_path, export_format, name):
    """Returns the card as Markdown (str); arguments as `write_card`."""
    folder = os.path.dirname(os.path.abspath(model_path))
    parts = [_front_matter(model), f"# {_title(model)}", _architecture(model), "", f"This is {FORMATS[export_format]}."]
    glue = _read_glue(folder)
    parts += ["", "## Training", "", *_training(folder, glue)]
    parts += ["", "## GLUE", "", *_glue(glue)]
    parts += ["", "## Use and limits", "", *_use(model)]
    parts += ["", "## Loading", "", *_loading(model, os.path.basename(model_path), export_format, name)]
    return "\n".join(parts) + "\n"


def _front_matter(model):
    classifies = isinstance(model, BertBudgetTextClassifier)
    return f"---\npipeline_tag: {'text-classification' if classifies else 'fill-mask'}\n---\n"


def _title(model):
    if not isinstance(model, BertBudgetTextClassifier):
        return "Masked language model"
    texts = "two texts" if model.pair else "one text"
    return f"Regression of {texts}" if model.num_classes == 1 else f"Classifier of {texts}"


def _architecture(model):
    encoder, tokenizer = model.backbone, model.preprocessor.tokenizer
    norm = "before" if encoder.norm_placement == "pre" else "after"
    labels = getattr(model, "label_names", None)
    return (
        f"\nAn encoder of {encoder.num_layers} layers, {encoder.hidden_dim} wide, {encoder.num_heads} heads, "
        f"{model.count_params():,} parameters with its head; norm {norm} each sub-layer"
        f"{', gated feed-forward' if encoder.gated else ''}. It reads at most {encoder.max_sequence_length} tokens. "
        f"WordPiece, {tokenizer.vocabulary_size():,} entries, "
        f"{'lower-cased' if tokenizer.normalizer.lowercase else 'cased'}, accents "
        f"{'stripped' if tokenizer.normalizer.strip_accents else 'kept'}."
        + (f" Labels: {', '.join(labels)}." if labels else "")
    )


def _training(folder, glue):
    """Lines on the run in whose directory the model file lies, or on what a finetuned model was made from."""
    try:
        record = read_record(folder)
    except InputError:
        return _finetuning(glue or {})
    reached = record.position
    told = {
        **{key: record.recipe.get(key) for key in ("recipe", "preset", "budget", "corpus")},
        "sources": record.sources(),
        "steps": reached.get("step"),
        **{key: reached.get(key) for key in ("tokens", "flops")},
        "hours": reached.get("elapsed_seconds") and reached["elapsed_seconds"] / 3600,
        "precision": record.plan.get("precision"),
        **{key: record.find(key) for key in ("device", "validation_loss", "validation_unigram_entropy")},
    }
    return _table(told) if record.final else [*_table(told), "| finished | no: this is how far the log goes |"]


def _finetuning(glue):
    """Lines on a finetuned model, from its `glue.json`."""
    if (glue.get("model") or {}).get("random"):
        pretraining = ["Not pretrained: it was finetuned from weights drawn at random."]
    elif glue.get("pretraining"):
        pretraining = ["Pretraining:", "", *_table(glue["pretraining"])]
    else:
        return ["Beside the model file there was no record of its training, so nothing is known of it here."]
    finetuning = glue.get("finetuning") or {}
    told = {key: finetuning.get(key) for key in ("device", "precision")}
    told["hours"] = finetuning.get("seconds") and finetuning["seconds"] / 3600
    return [*pretraining, "", "Finetuning, all tasks and seeds together:", "", *_table(told)]


def _table(told):
    """What is known of a training, of those keys that a reader asks for, as lines of a table."""
    rows = {
        "recipe": " ".join(filter(None, (told.get("recipe"), told.get("preset")))) or None,
        **{key: told.get(key) for key in ("budget", "corpus", "sources")},
        "steps": None if told.get("steps") is None else f"{told['steps']:,}",
        "tokens": None if told.get("tokens") is None else describe(told["tokens"]),
        "FLOPs": None if told.get("flops") is None else describe(told["flops"]),
        "hours": told.get("hours") and f"{told['hours']:.3g} ({describe_seconds(3600 * told['hours'])})",
        **{key: told.get(key) for key in ("device", "precision")},
        "validation loss": _nats(told.get("validation_loss")),
        "unigram entropy": _nats(told.get("validation_unigram_entropy")),
    }
    return ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items() if value is not None)]


def _nats(loss):
    return loss and f"{loss:.3f} nats"


def _read_glue(folder):
    """The `glue.json` in a folder; beside the folder of a finetuned task, that with this task alone."""
    beside = read_json(os.path.join(folder, "glue.json"))
    if beside is not None:
        return beside
    above, task = read_json(os.path.join(os.path.dirname(folder), "glue.json")), os.path.basename(folder)
    tasks = above.get("tasks") if isinstance(above, dict) else None
    # the other tasks' scores are of other models
    return {**above, "tasks": {task: tasks[task]}} if isinstance(tasks, dict) and task in tasks else None


def _glue(glue):
    """Lines with the table of `glue.json`, each metric over its seeds, in percent as papers give it."""
    tasks = (glue or {}).get("tasks")
    if not tasks:
        return ["Not measured."]
    lines = [_protocol(glue), ""] if "protocol" in glue else []
    lines += ["| task | metric | median | spread | seeds | examples |", "|---|---|--:|--:|--:|--:|"]
    notes = []
    for task, result in tasks.items():
        for metric, found in result["metrics"].items():
            spread = f"{100 * (max(found['values']) - min(found['values'])):.1f}" if found["n"] > 1 else "–"
            scores = f"{100 * found['median']:.1f} | {spread} | {found['n']} | {result.get('examples', '–')}"
            lines.append(f"| {task} | {metric.replace('_', ' ')} | {scores} |")
        notes += [f"- {task}: {note}" for note in result.get("notes") or ()]
    return [*lines, "", *notes] if notes else lines


def _protocol(glue):
    described = (glue.get("protocol_settings") or {}).get("description")
    split = f" Split: {glue['split']}." if glue.get("split") else ""
    return f"Protocol: {glue['protocol']}{f', {described}' if described else ''}".rstrip(".") + f".{split}"


def _use(model):
    if isinstance(model, BertBudgetTextClassifier):
        use = "For texts like those that it was finetuned on; on others its probabilities mean little."
    else:
        use = "To be finetuned, to embed texts and to fill masks. It does not write texts."
    return [
        use,
        "",
        "It was trained on a small budget: expect less of it than of a model that saw a hundred times as much. What",
        "its texts assert, prefer or leave out, it repeats. Before anything depends on it, check it on your own data,",
        "for each group of people that it will judge.",
    ]


def _loading(model, file, export_format, name):
    folders = {key: name if key == export_format else key for key in ("serving", "transformers")}
    trust = not has_architecture(model)
    code = snippets(model, file, folders["transformers"], trust)
    lines = [
        f"In a folder with the model file and its exports, `{file}`, `{folders['transformers']}/` and "
        f"`{folders['serving']}/`; what is missing is written by "
        "`python recipes/export_model.py --model FILE --format serving|transformers --output_dir DIR`.",
    ]
    for where, snippet in code.items():
        lines += ["", f"### {where}", ""]
        if where == "Transformers" and trust:
            lines += ["`transformers` has no equal architecture: the folder brings its own, which must be trusted.", ""]
        if where == "TensorFlow Serving":
            mount = f'-v "$PWD/{folders["serving"]}:/models/model"'
            lines += ["```bash", f"docker run --rm -p 8501:8501 {mount} tensorflow/serving", "```", ""]
        lines += ["```python", snippet.rstrip(), "```"]
    return lines
