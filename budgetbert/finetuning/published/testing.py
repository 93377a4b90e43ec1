"""What the median models make of the test sets, and of the diagnostic: for the leaderboard."""

from budgetbert.finetuning import metrics
from budgetbert.finetuning.batches import EncodedExamples, judging_batches
from budgetbert.finetuning.finetune import summary
from budgetbert.finetuning.heads import logits_of
from budgetbert.finetuning.published.submission import file_of
from budgetbert.finetuning.tasks import TASKS
from budgetbert.models.loading import load_trained


def predict(model, examples):
    """Returns what a classifier predicts for `Examples`: int array of classes, or float array of scores."""
    tokenizer, length = model.preprocessor.tokenizer, model.preprocessor.sequence_length
    encoded = EncodedExamples(examples, tokenizer, length, model.apart)
    return metrics.predictions_of(logits_of(model, judging_batches(encoded), len(encoded)))


def predict_tests(tasks, source, path_of):
    """Predicts the test sets of tasks.

    Args:
        tasks: list of `Task`.
        source: `Folder` or `Hub`.
        path_of: function of a task's name that returns the path of its model.

    Returns:
        Tuple of a dict of a submission's file, without `.tsv`, to a list of labels (str) or scores (float), and a list
        of the files for which there is no test set.
    """
    predictions, without = {}, []
    for task in tasks:
        model = None
        for split in task.test:
            name = file_of(task, split)
            examples = source.read(task, split)
            if examples is None:
                without.append(name)
                continue
            model = model or load_trained(path_of(_judge(task)))
            found = predict(model, examples)
            predictions[name] = [task.labels[i] for i in found] if task.labels else found.astype(float).tolist()
    return predictions, without


def judge_diagnostic(source, path_of):
    """Returns the entry of AX in `glue.json`, judged by the median model of MNLI; `None` where its labels are unknown.

    Arguments as `predict_tests`.
    """
    task = TASKS["ax"]
    examples = source.read(task, task.test[0])
    if examples is None or examples.labels is None:
        return None
    model = load_trained(path_of(_judge(task)))
    found = metrics.score(task, examples.labels, predict(model, examples))
    return {
        "metrics": {name: summary([value]) for name, value in found.items()},
        "main_metric": task.metric,
        "examples": len(examples),
        "train_examples": 0,
        "majority": metrics.majority(task, examples.labels),
        "notes": [*examples.notes, "judged by the median model of MNLI"],
        "configuration": {},
        "failed_seeds": [],
        "seconds": 0.0,
    }


def _judge(task):
    """Returns the name of the task whose model judges a task."""
    return task.name if task.train else "mnli"
