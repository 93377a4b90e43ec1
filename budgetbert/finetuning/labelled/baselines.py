"""What costs nothing, to be held against a finetuned model: the usual label, and a linear model on counts of words."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline

from budgetbert.finetuning import metrics
from budgetbert.finetuning.data import sample

# The inverse of the penalty of the logistic regression, and the penalty of the ridge: scikit-learn's 1 is for more
# rows than columns, and of words there are more columns.
_INVERSE_PENALTY, _RIDGE = 10.0, 1.0
# A word or a run of other signs, so that every text has one.
_TOKEN = r"\w+|[^\w\s]+"
# The linear model takes minutes for so many rows, and of more it learns little more.
_MOST_ROWS = 100_000


def baselines(task, examples):
    """Returns the metrics of the majority and of TF-IDF with a linear model.

    The linear model reads the words and pairs of words of each text, weighted by TF-IDF: a logistic regression for
    classes, one for each of several labels, a ridge regression for scores.

    Args:
        task: `Task`.
        examples: dict of `"train"`, `"dev"` and perhaps `"test"` to `Examples`.

    Returns:
        dict of `"majority"` and `"tfidf"` to dict of the other parts' names to dict of metrics.
    """
    train, parts = examples["train"], {name: part for name, part in examples.items() if name != "train"}
    usual = train.labels.mean(axis=0) if task.scale else None
    if task.several:
        usual = (train.labels.mean(axis=0) >= 0.5).astype("int32")
    elif usual is None:
        usual = np.bincount(train.labels).argmax()
    model = _linear_model(task, len(train.texts))
    learned = sample(train, _MOST_ROWS, task)
    model.fit(_rows(learned), learned.labels)
    constant = {name: np.broadcast_to(usual, part.labels.shape) for name, part in parts.items()}
    linear = {name: model.predict(_rows(part)) for name, part in parts.items()}
    return {
        kind: {name: metrics.score(task, parts[name].labels, predicted) for name, predicted in by_part.items()}
        for kind, by_part in (("majority", constant), ("tfidf", linear))
    }


def _rows(examples):
    return list(zip(*examples.texts, strict=True))


class _Column:
    """Takes one of the texts of each row; scikit-learn calls it before it counts words."""

    def __init__(self, number):
        self.number = number

    def __call__(self, row):
        return row[self.number].lower()


def _linear_model(task, texts):
    words = FeatureUnion(
        [
            (
                f"text{number}",
                TfidfVectorizer(
                    preprocessor=_Column(number), ngram_range=(1, 2), sublinear_tf=True, token_pattern=_TOKEN
                ),
            )
            for number in range(texts)
        ]
    )
    if task.scale:
        return make_pipeline(words, Ridge(_RIDGE))
    regression = LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000)
    return make_pipeline(words, OneVsRestClassifier(regression) if task.several else regression)
