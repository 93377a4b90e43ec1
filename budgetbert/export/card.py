"""The model card of an export: where the model comes from, what it is for, and how to load it; see `card.md`."""

import json
import os

from huggingface_hub import EvalResult, ModelCardData

from budgetbert import files
from budgetbert.errors import InputError
from budgetbert.export.formats import FORMATS
from budgetbert.models import (
    BertBudgetQuestionAnswering,
    BertBudgetTextClassifier,
    BertBudgetTextEmbedder,
    BertBudgetTokenClassifier,
)
from budgetbert.models.hugging_face import has_architecture
from budgetbert.models.logits import problem_type
from budgetbert.reporting import page as pages
from budgetbert.training.run.record import read_json, read_record

# What the hub calls the metrics.
_METRICS = {
    **{name: name for name in ("accuracy", "f1")},
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
}
# What the snippets read.
_TEXTS = ["The weather is lovely today.", "We never found our way home."]
_QUESTIONS = ["How is the weather?", "What did we never find?"]
_MASKED = "The weather is [MASK] today."


def write_card(directory, model, model_path, export_format, name):
    """Writes `directory/README.md`.

    Args:
        directory: string. The export.
        model: one of our tasks, as `BertBudgetMaskedLM`, with a preprocessor.
        model_path: string. The `.keras` file; what stands beside it (a run, `glue.json`) is reported, of a
            finetuned task what `glue.json` above its folder says.
        export_format: string. A key of `FORMATS`.
        name: string. What the export's folder is called.
    """
    files.write(os.path.join(directory, "README.md"), render(model, model_path, export_format, name))


def render(model, model_path, export_format, name):
    """Returns the card as Markdown (str); arguments as `write_card`."""
    folder = os.path.dirname(os.path.abspath(model_path))
    classifies, trust = isinstance(model, BertBudgetTextClassifier), not has_architecture(model)
    tags, answers, embeds = (
        isinstance(model, task)
        for task in (BertBudgetTokenClassifier, BertBudgetQuestionAnswering, BertBudgetTextEmbedder)
    )
    glue = _read_glue(folder) or {}
    tasks, finetuning = glue.get("tasks") or {}, glue.get("finetuning") or {}
    run, finished = _read_run(folder)
    data = ModelCardData(
        model_name=name,
        library_name=_library(export_format, embeds),
        pipeline_tag=_pipeline(model),
        eval_results=list(_eval_results(tasks)) or None,
    )
    text = pages.render(
        "export/card.md",
        model=model,
        encoder=model.backbone,
        tokenizer=model.preprocessor.tokenizer,
        labels=getattr(model, "label_names", None),
        classifies=classifies,
        tags=tags,
        embeds=embeds,
        answers=answers,
        problem=problem_type(model),
        title=_title(model),
        format=FORMATS[export_format].description,
        run=run,
        run_finished=finished,
        glue=glue,
        random=(glue.get("model") or {}).get("random"),
        finetuning={**finetuning, "hours": finetuning.get("seconds") and finetuning["seconds"] / 3600},
        tasks=tasks,
        file=os.path.basename(model_path),
        transformers_folder=name if export_format == "transformers" else "transformers",
        serving_folder=name if export_format == "serving" else "serving",
        trust=trust,
        quoted=_quoted,
        masked=_MASKED,
        **_inputs(model),
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text}\n"


def _library(export_format, embeds):
    if export_format != "transformers":
        return "keras"
    return "sentence-transformers" if embeds else "transformers"


def _pipeline(model):
    """Returns what the hub calls the task of a model."""
    names = {
        BertBudgetTextClassifier: "text-classification",
        BertBudgetTokenClassifier: "token-classification",
        BertBudgetQuestionAnswering: "question-answering",
        BertBudgetTextEmbedder: "sentence-similarity",
    }
    return next((name for task, name in names.items() if isinstance(model, task)), "fill-mask")


def _title(model):
    if isinstance(model, BertBudgetTextEmbedder):
        return "Text embedder"
    if isinstance(model, BertBudgetTokenClassifier):
        return "Token classifier"
    if isinstance(model, BertBudgetQuestionAnswering):
        return "Question answering"
    if not isinstance(model, BertBudgetTextClassifier):
        return "Masked language model"
    texts = "two texts" if model.pair else "one text"
    return f"{'Regression' if problem_type(model) == 'regression' else 'Classifier'} of {texts}"


def _inputs(model):
    """Returns what each snippet gives the model, as Python."""
    if isinstance(model, (BertBudgetTokenClassifier, BertBudgetTextEmbedder)):
        texts = _quoted(_TEXTS)
        request = _quoted({"instances": [{"text": text} for text in _TEXTS]})
        return {"keras_texts": texts, "torch_texts": texts, "request": request}
    if isinstance(model, BertBudgetQuestionAnswering):
        texts = f"{_quoted(_QUESTIONS)}, {_quoted(_TEXTS)}"
        pairs = zip(_QUESTIONS, _TEXTS, strict=True)
        request = {"instances": [{"question": question, "context": context} for question, context in pairs]}
        return {"keras_texts": f"({texts})", "torch_texts": texts, "request": _quoted(request)}
    if not isinstance(model, BertBudgetTextClassifier):
        request = {"signature_name": "fill_mask", "instances": [{"text": _MASKED}]}
        return {"keras_texts": "", "torch_texts": _quoted([_MASKED]), "request": _quoted(request)}
    columns = [_TEXTS, _TEXTS[::-1]] if model.pair else [_TEXTS]
    names = ("text_a", "text_b") if model.pair else ("text",)
    texts = ", ".join(map(_quoted, columns))
    instances = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return {
        "keras_texts": f"({texts})" if model.pair else texts,
        "torch_texts": texts,
        "request": _quoted({"instances": instances}),
    }


def _quoted(value):
    """Returns a string, list or dict of strings as Python writes it with double quotes, which is JSON."""
    return json.dumps(value, ensure_ascii=False)


def _read_run(folder):
    """Returns the summary of the run in whose directory the model file lies, and whether it is finished."""
    try:
        record = read_record(folder)
    except InputError:
        return None, False
    extra = {"precision": record.plan.get("precision"), "unigram_entropy": record.unigram_entropy}
    return {**record.summary(), **extra}, bool(record.final)


def _read_glue(folder):
    """Returns the `glue.json` in a folder; beside the folder of a finetuned task, that with this task alone."""
    beside = read_json(os.path.join(folder, "glue.json"))
    if beside is not None:
        return beside
    above, task = read_json(os.path.join(os.path.dirname(folder), "glue.json")), os.path.basename(folder)
    tasks = above.get("tasks") if isinstance(above, dict) else None
    # The other tasks' scores are of other models.
    return {**above, "tasks": {task: tasks[task]}} if isinstance(tasks, dict) and task in tasks else None


def _eval_results(tasks):
    """Yields what the hub reads of each score: the median over the seeds on the development set."""
    for name, result in tasks.items():
        for metric, found in result["metrics"].items():
            kind, _, part = metric.partition("_")
            if kind in _METRICS:
                yield EvalResult(
                    task_type="text-classification",
                    dataset_type="nyu-mll/glue",
                    dataset_name="GLUE",
                    dataset_config=name,
                    dataset_split="test" if name == "ax" else "_".join(filter(None, ("validation", part))),
                    metric_type=_METRICS[kind],
                    metric_value=found["median"],
                )
