"""The page of a finetuning on a labelled file: one HTML file that needs nothing else."""

from markupsafe import Markup

from budgetbert import files
from budgetbert.reporting import numbers
from budgetbert.reporting import page as pages
from budgetbert.reporting.charts import Bar, bar_chart, calibration_chart

TITLES = {
    "accuracy": "Accuracy",
    "f1_macro": "F1, mean of the classes",
    "entity_f1": "F1 of entities",
    "entity_precision": "Precision of entities",
    "entity_recall": "Recall of entities",
    "f1_micro": "F1 of all labels",
    "exact_match": "All labels right",
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
    "mean_absolute_error": "Mean absolute error",
    "answer_f1": "F1 of the answers",
    "answer_exact_match": "Exact match",
    "answerable_f1": "F1 where there is an answer",
    "answerable_exact_match": "Exact match where there is an answer",
    "unanswerable_accuracy": "No answer where there is none",
    "ndcg_at_10": "nDCG@10",
    "recall_at_1": "Recall@1",
    "recall_at_10": "Recall@10",
    "mrr": "Mean reciprocal rank",
}
PARTS = {"dev": "held out", "test": "test"}
# What costs nothing, by its key in `metrics.json`, as people read it.
BASELINES = {
    "tfidf": "TF-IDF and a linear model",
    "majority": "always the usual label",
    "sentence": "a name in the likeliest sentence",
    "none": "never an answer",
    "tfidf_cosine": "cosines of TF-IDF",
    "bm25": "BM25",
    "static": "means of its token vectors",
    "words": "each word's most frequent tag",
}


def write_page(result, path):
    """Writes the page of a result (dict, of `metrics.json`) to a path, whole or not at all; returns the path."""
    return files.write(path, render(result))


def render(result):
    """Returns the page of a result (dict, of `metrics.json`) as str."""
    ((name, entry),) = result["tasks"].items()
    parts = [part for part in ("test", "dev") if part in entry]
    # What is shown in detail is the test set where there is one: nothing was chosen on it.
    judged = entry[parts[0]]
    settings = {key: value for key, value in result["settings"].items() if key not in ("name", "description")}
    facts = {
        "Model": {"parameters": result["model"]["parameters"]},
        "Pretraining": dict(result["pretraining"] or {"known": "nothing: the model lies in no directory of a run"}),
        "Data": {"rows": result["data"]["rows"], "unusable rows": result["data"]["unusable_rows"]},
        "Settings": {key: value for key, value in settings.items() if value not in (None, "", [], {})},
        "Finetuning": {**result["finetuning"], "seconds": numbers.duration(result["finetuning"]["seconds"])},
    }
    return pages.render(
        "finetuning/labelled/page.html",
        title=f"Finetuned: {name}",
        subtitle=" · ".join(
            f"{numbers.counted(count, 'row')} {part}" for part, count in result["data"]["rows"].items()
        ),
        status=f"Scores of {PARTS[parts[0]]} texts",
        entry=entry,
        metrics=entry["metrics"],
        titles=TITLES,
        main=entry["main_metric"],
        part_name=parts[0],
        part=PARTS[parts[0]],
        judged=judged,
        table=_table(entry, parts),
        chart=Markup(_bars(entry, parts[0])),
        calibration=_calibration(judged),
        baselines=BASELINES,
        sure="calibration" in judged,
        figure=figure,
        notes=[*result["notes"], *entry["notes"]],
        command=pages.command_words(result["command"]),
        tables=pages.fact_tables(*facts.items()),
    )


def figure(metric, value):
    """Writes a metric: scores in percent, errors in the units of the labels."""
    return numbers.significant(value) if metric == "mean_absolute_error" else numbers.score(value)


def _table(entry, parts):
    """Returns the rows of the table of metrics: names, and for each part and rival a figure."""
    columns = [(part, kind) for part in parts for kind in (None, *entry["baselines"])]
    head = [f"{BASELINES.get(kind, 'this model')}, {PARTS[part]}" for part, kind in columns]
    rows = []
    for metric in entry[parts[0]]["metrics"]:
        found = [entry["baselines"][kind][part] if kind else entry[part]["metrics"] for part, kind in columns]
        rows.append((TITLES[metric], [figure(metric, values[metric]) for values in found]))
    return head, rows


def _bars(entry, part):
    metric = entry["main_metric"]
    bars = [Bar("this model", 100 * entry[part]["metrics"][metric], "ours")]
    bars += [Bar(BASELINES[kind], 100 * found[part][metric], "baseline") for kind, found in entry["baselines"].items()]
    return bar_chart(TITLES[metric], bars)


def _calibration(judged):
    if "calibration" not in judged:
        return None
    bins = judged["calibration"]["bins"]
    return Markup(calibration_chart([part["confidence"] for part in bins], [part["accuracy"] for part in bins]))
