"""A frozen probe: what an encoder's features hold before anything is finetuned, in seconds."""

import dataclasses

import keras
import numpy as np
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from budgetbert.finetuning import metrics
from budgetbert.finetuning.batches import EncodedExamples, judging_batches
from budgetbert.finetuning.data import Examples, sample
from budgetbert.finetuning.tasks import TASKS
from budgetbert.layers import MeanPooling

# Of GLUE these tell encoders of a small budget apart, with a spread of under a point between draws.
PROBED = ("stsb", "qnli", "sst2")
# The penalties of the ridge, of columns with the variance 1; leaving one example out at a time chooses among them.
_PENALTIES = np.logspace(0, 5, 6)
_TRAINING, _JUDGED, _DRAWS = 4000, 2000, 5


@dataclasses.dataclass(frozen=True)
class Parts:
    """What one task is probed with.

    Args:
        task: `Task`.
        train: `Examples`.
        dev: `Examples`.
    """

    task: object
    train: Examples
    dev: Examples


def read_parts(source, names=PROBED, training=_TRAINING, judged=_JUDGED):
    """Reads the examples of the probe.

    Args:
        source: `Folder` or `Hub`, see `budgetbert.finetuning.data.open_source`.
        names: tuple of str, of GLUE's tasks. Defaults to STS-B, QNLI and SST-2.
        training: int. Training examples of a task at most, the same for every encoder. Defaults to 4,000.
        judged: int. Development examples of a task at most. Defaults to 2,000.

    Returns:
        list of `Parts`.
    """
    return [
        Parts(
            task,
            sample(source.read(task, task.train), training, task),
            sample(source.read(task, task.dev[0]), judged, task),
        )
        for task in map(TASKS.get, names)
    ]


class FrozenFeatures:
    """What the features of a text are, of an encoder as it is.

    Args:
        encoder: `BertBudget`.
        tokenizer: `BertBudgetTokenizer`.
        block: int. The block whose output is read, from 1. Defaults to `None`: the one in the middle.
        sequence_length: int. Longer texts are cut to so many tokens. Defaults to 128.
    """

    def __init__(self, encoder, tokenizer, block=None, sequence_length=128):
        block = (encoder.num_layers + 1) // 2 if block is None else block
        self._tokenizer = tokenizer
        self._length = min(sequence_length, encoder.max_sequence_length)
        hidden = encoder.get_layer(f"block_{block - 1}").output
        mean = MeanPooling(dtype="float32")(hidden, padding_mask=encoder.input["padding_mask"])
        self._model = keras.Model(encoder.input, mean)
        if keras.backend.backend() == "tensorflow":
            # One graph serves all lengths, where XLA would compile a program for each.
            self._model.jit_compile = False

    def __call__(self, texts):
        """Returns the features of texts.

        Args:
            texts: tuple of one or two lists of str.

        Returns:
            float32 array (examples, width): the mean over the tokens of a text, [CLS] and [SEP] among them. Of two
            texts u and v, each encoded by itself, (examples, 4 width): u, v, |u - v| and u * v.
        """
        u, *v = map(self._means, texts)
        return np.concatenate([u, *v, np.abs(u - v[0]), u * v[0]], axis=1) if v else u

    def _means(self, column):
        encoded = EncodedExamples(Examples((column,), None, ()), self._tokenizer, self._length)
        means = np.empty((len(encoded), self._model.output.shape[-1]), np.float32)
        for indices, batch in judging_batches(encoded):
            inputs = {name: batch[name] for name in ("token_ids", "padding_mask")}
            inputs["segment_ids"] = np.zeros_like(batch["token_ids"])
            means[indices] = self._model.predict_on_batch(inputs)[: indices.size]
        return means


def probe(task, train, dev, draws=_DRAWS):
    """Fits a ridge regression to frozen features, several times.

    Args:
        task: `Task`.
        train: tuple of a float array (examples, features) and the labels.
        dev: tuple of the same, to judge with.
        draws: int. How often half of the training examples is drawn, and the ridge fitted to it. Defaults to 5.

    Returns:
        float array (draws,): the task's metric, of each draw.
    """
    generator, found = np.random.default_rng(0), []
    for _ in range(draws):
        drawn = np.sort(generator.permutation(len(train[1]))[: max(2, len(train[1]) // 2)])
        ridge = RidgeClassifierCV(_PENALTIES) if task.labels else RidgeCV(_PENALTIES)
        model = make_pipeline(StandardScaler(), ridge).fit(train[0][drawn].astype("float64"), train[1][drawn])
        predicted = model.predict(dev[0].astype("float64"))
        found.append(metrics.score(task, dev[1], predicted)[task.metric])
    return np.array(found)


def probe_encoder(encoder, tokenizer, parts, block=None):
    """Probes an encoder.

    Args:
        encoder: `BertBudget`.
        tokenizer: `BertBudgetTokenizer`.
        parts: list of `Parts`.
        block: int, as of `FrozenFeatures`. Defaults to `None`.

    Returns:
        dict of the tasks' names to float arrays, see `probe`.
    """
    features = FrozenFeatures(encoder, tokenizer, block)
    return {
        part.task.name: probe(
            part.task, *((features(examples.texts), examples.labels) for examples in (part.train, part.dev))
        )
        for part in parts
    }
