"""A tag for each word: how it is learned, and how entities are judged."""

import numpy as np
from keras import ops

from budgetbert.finetuning.batches import judging_batches, padded_length
from budgetbert.finetuning.heads import Judgement, outputs_of, restart
from budgetbert.finetuning.labelled.judging import calibration
from budgetbert.finetuning.tagging.entity_metrics import MostFrequentTags, entity_scores
from budgetbert.models import BertBudgetTokenClassifier, BertBudgetTokenClassifierPreprocessor
from budgetbert.models.tagging_labels import labels_of
from budgetbert.tokenization.tags import OUTSIDE, TagScheme, entities_of
from budgetbert.training.step.objectives import TokenClassification

_ERRORS = 20


class EncodedTexts:
    """The rows of texts, in batches of similar length.

    Args:
        texts: list of str, or of lists of str, the words.
        preprocessor: `BertBudgetTokenClassifierPreprocessor`.
    """

    def __init__(self, texts, preprocessor):
        self.rows = preprocessor.rows_of(texts)
        self._pad = preprocessor.tokenizer.pad_token_id
        self._parts = dict(self.rows.inputs)
        self.lengths = self._parts["padding_mask"].sum(axis=1)

    def __len__(self):
        return len(self.lengths)

    def length_of(self, indices):
        """Returns the length (int) to which a batch of these rows is padded."""
        longest = self._parts["token_ids"].shape[1]
        return min(padded_length(self.lengths[indices].max(), longest), longest)

    def batch(self, indices, rows):
        """Returns a batch of `rows` rows (int): those of `indices`, and behind them padding of weight 0.

        Returns:
            Dict of arrays `[rows, length]`: int32 `token_ids`, `padding_mask` and `segment_ids`; of sentences with
            tags also int32 `labels` and float32 `weights`, 1 at the first piece of each word.
        """
        length = self.length_of(indices)
        batch = {name: np.zeros((rows, length), part.dtype) for name, part in self._parts.items()}
        batch["token_ids"][:] = self._pad
        # A row of padding alone would have nothing to attend to.
        batch["padding_mask"][:, 0] = 1
        for name, part in self._parts.items():
            batch[name][: len(indices)] = part[indices, :length]
        return batch


class EncodedSentences(EncodedTexts):
    """The rows of sentences, whose first pieces of words have labels.

    Args:
        examples: `TaggedExamples`.
        preprocessor: `BertBudgetTokenClassifierPreprocessor`.
        scheme: `TagScheme`.
    """

    def __init__(self, examples, preprocessor, scheme):
        super().__init__(examples.words, preprocessor)
        self.tags = labels_of(examples.words, examples.tags, self.rows, scheme)
        labels = np.zeros(self._parts["token_ids"].shape, np.int32)
        weights = np.zeros(labels.shape, np.float32)
        labels[self.rows.rows, self.rows.columns] = self.tags
        weights[self.rows.rows, self.rows.columns] = 1.0
        self._parts |= {"labels": labels, "weights": weights}


class TagHead:
    """The head of `Finetuning` for tags of words.

    Args:
        task: `Task`, whose `labels` are the tags.
    """

    def __init__(self, task):
        self.task = task
        self.objective = TokenClassification()
        self._scheme = TagScheme(task.labels)

    def make_model(self, pretrained, dropout, sequence_length, dtype):
        """Returns a `BertBudgetTokenClassifier`; arguments as `heads.TextHead.make_model`."""
        return BertBudgetTokenClassifier(
            pretrained.make_encoder(dropout, dtype),
            label_names=list(self.task.labels),
            preprocessor=BertBudgetTokenClassifierPreprocessor(pretrained.tokenizer, sequence_length),
            dropout=dropout,
        )

    def restart(self, model, weights, seed, pooler=None):
        """As `heads.TextHead.restart`; a pooler has no use here."""
        restart(model, weights, seed, (model.logits,))

    def encode(self, examples, tokenizer, sequence_length):
        """Returns the `EncodedSentences` of `TaggedExamples`."""
        preprocessor = BertBudgetTokenClassifierPreprocessor(tokenizer, sequence_length)
        return EncodedSentences(examples, preprocessor, self._scheme)

    def judge(self, model, examples, encoded):
        """Returns the `Judgement` of a model on `TaggedExamples` and what `encode` made of them; a loss is a word's."""
        logits = word_logits(model, encoded)
        tags = self._tags_of(logits.argmax(axis=1), encoded)
        found = self._score(examples, tags)
        shifted = logits - logits.max(axis=1, keepdims=True)
        chosen = np.take_along_axis(shifted, encoded.tags[:, None].astype(int), axis=1)[:, 0]
        return Judgement(np.log(np.exp(shifted).sum(axis=1)) - chosen, found, tags, self._failure(found, examples))

    def majority(self, examples):
        """Returns the metrics (dict of float) of giving each word the usual tag."""
        usual = MostFrequentTags([], [], examples.tags)
        return self._score(examples, usual(examples.words))

    def finish(self, model):
        """The model is as it is to be saved."""

    def baselines(self, examples, pretrained):
        """Returns the metrics of each word's most frequent tag, and of the most frequent tag of all.

        Args:
            examples: dict of `"train"`, `"dev"` and perhaps `"test"` to `TaggedExamples`.
            pretrained: `Pretrained`, which has no part in them.

        Returns:
            dict of `"words"` and `"majority"` to dict of the other parts' names to dict of metrics.
        """
        train, parts = examples["train"], {flag: part for flag, part in examples.items() if flag != "train"}
        kinds = {
            "words": MostFrequentTags(train.words, train.tags),
            "majority": MostFrequentTags([], [], train.tags),
        }
        return {
            kind: {flag: self._score(part, tagger(part.words)) for flag, part in parts.items()}
            for kind, tagger in kinds.items()
        }

    def report(self, model, examples):
        """Judges a finished model.

        Args:
            model: `BertBudgetTokenClassifier`.
            examples: `TaggedExamples`.

        Returns:
            dict of `metrics`, `classes` (of each type), `calibration` (of words) and `errors`.
        """
        encoded = EncodedSentences(examples, model.preprocessor, self._scheme)
        probabilities = ops.convert_to_numpy(ops.softmax(word_logits(model, encoded), axis=-1))
        best, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
        tags = self._tags_of(best, encoded)
        types = entity_scores(examples.tags, tags)["types"]
        certainty = [np.ones(len(words)) for words in examples.words]
        for sentence, word, value in zip(encoded.rows.texts, encoded.rows.words, sure, strict=True):
            certainty[sentence][word] = value
        return {
            "metrics": self._score(examples, tags),
            "classes": [
                {"name": name, **{key: found[key] for key in ("precision", "recall", "f1")}, "count": found["support"]}
                for name, found in types.items()
            ],
            "calibration": calibration(sure, best == encoded.tags),
            "errors": _errors(examples, tags, certainty),
        }

    def _tags_of(self, best, encoded):
        """Returns the tags (list of lists of str) of the numbers of the words that were judged."""
        found = [[self.task.labels[self._scheme.outside]] * count for count in encoded.rows.counts]
        for sentence, word, tag in zip(encoded.rows.texts, encoded.rows.words, best, strict=True):
            found[sentence][word] = self.task.labels[tag]
        return found

    def _score(self, examples, tags):
        found = entity_scores(examples.tags, tags)
        found["f1_macro"] = float(np.mean([of_type["f1"] for of_type in found["types"].values()] or [0.0]))
        return {name: found[name] for name in self.task.metrics}

    def _failure(self, found, examples):
        metric, usual = self.task.metric, self.majority(examples)[self.task.metric]
        if found[metric] > usual:
            return None
        return f"{metric} {found[metric]:.3f}, no better than the most frequent tag ({usual:.3f})"


def word_logits(model, encoded, batch_size=64):
    """Returns the logits (words, tags) of the first pieces of words of `EncodedTexts`, in the order of their rows."""
    order = np.argsort(encoded.rows.rows, kind="stable")
    bounds = np.searchsorted(encoded.rows.rows[order], np.arange(len(encoded) + 1))
    logits = np.empty((len(order), model.num_classes), np.float32)
    for indices, batch in judging_batches(encoded, batch_size):
        outputs = outputs_of(model, batch)
        for place, row in enumerate(indices):
            words = order[bounds[row] : bounds[row + 1]]
            logits[words] = outputs[place, encoded.rows.columns[words]]
    return logits


def _errors(examples, tags, certainty):
    """Returns the entities, or tags, that are wrongly there or not there, the surest first (list of dict)."""
    found = []
    for words, right, said, sure in zip(examples.words, examples.tags, tags, certainty, strict=True):
        there, predicted = entities_of(right), entities_of(said)
        for entity in predicted:
            if entity not in there:
                over = [other for other in there if other.start < entity.end and entity.start < other.end]
                found.append((words, over, [entity], sure[entity.start : entity.end].mean()))
        for entity in there:
            if not any(other.start < entity.end and entity.start < other.end for other in predicted):
                found.append((words, [entity], [], sure[entity.start : entity.end].mean()))
    found.sort(key=lambda error: -error[3])
    return [
        {
            "texts": [" ".join(words)],
            "label": _told(words, right),
            "predicted": _told(words, said),
            "probability": float(value),
        }
        for words, right, said, value in found[:_ERRORS]
    ]


def _told(words, entities):
    return ", ".join(f"{' '.join(words[e.start : e.end])} ({e.type})" for e in entities) or OUTSIDE
