"""What a first model of some minutes has learned: masks that it fills in, and who wrote a passage."""

import json
import os
import time

import absl.logging
import keras
import numpy as np

from budgetbert import files
from budgetbert.budget import describe
from budgetbert.corpus.sources import novels
from budgetbert.finetuning.data import Examples
from budgetbert.finetuning.labelled.baselines import baselines
from budgetbert.finetuning.tasks import Task
from budgetbert.finetuning_rule import BETA_2, CLIP_NORM, EPSILON, WARMUP, learning_rate_of
from budgetbert.models.preprocessors import BertBudgetTextClassifierPreprocessor
from budgetbert.models.text_classifier import BertBudgetTextClassifier
from budgetbert.reporting.numbers import duration, nats, number, share
from budgetbert.schedules import linear
from budgetbert.terminal import LastingConsole
from budgetbert.training.run.record import read_record

# Nouns, verbs and adjectives that the novels use over and over: what minutes can learn.
SENTENCES = (
    "He opened the [MASK] and went into the room.",
    "She looked at him with tears in her [MASK].",
    "She put her [MASK] on his shoulder.",
    "They could not [MASK] it.",
    "She [MASK] not know what to do.",
    "He was a [MASK] old man with a white beard.",
)
SECONDS = 60.0
# So many passages of each author: what a minute can read on a busy machine, and a quiet one reads four times.
PASSAGES, MOST_EPOCHS, BATCH_SIZE = 300, 4, 16
# Pairs of FLOPs and the validation loss of a demo that ended there, as recorded (docs/LOG.md, 2026-11-30).
RECORDED = ((3.2e12, 6.23), (6.2e12, 5.81), (11.1e12, 4.93), (20.2e12, 4.27))
# Characters of the text in which words are counted: 15 % of it, and a second of work.
_COUNTED_CHARACTERS = 1_500_000


def show(model, directory):
    """Prints what the model of a finished demo fills in, finetunes it for a minute, and says what was to be expected.

    Args:
        model: `BertBudgetMaskedLM` with a preprocessor.
        directory: str, of the run. `authors.keras`, the classifier, and `authors.json` are written there; where they
            are, nothing is trained again.
    """
    show_filled_masks(model)
    console = LastingConsole(highlight=False)
    path = os.path.join(directory, "authors.json")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    else:
        console.print(f"\nfinetuning, {duration(SECONDS)} at most once compiled: who of six authors wrote a passage?")
        found = tell_authors(model, os.path.join(directory, "authors.keras"))
        files.write(path, json.dumps(found))
    console.print(
        f"\nWho wrote it? {number(found['passages'])} passages of six books that were not read in training, after "
        f"{number(found['updates'])} updates on {number(found['examples'])} passages of others in "
        f"{duration(found['seconds'])}:\n"
        f"  this model            {share(found['accuracy'])}\n"
        f"  TF-IDF, linear model  {share(found['tfidf'])}\n"
        f"  chance                {share(found['chance'])}"
    )
    final = read_record(directory).final
    console.print(f"\nvalidation loss {nats(final['validation_loss'])}; {recorded_runs(final['flops'])}")
    console.print(
        f"model {os.path.join(directory, 'model.keras')}, classifier {os.path.join(directory, 'authors.keras')}"
    )


def recorded_runs(flops):
    """Returns what recorded runs lost (str, for people) after so many FLOPs (float), read off between two of them."""
    spent, losses = zip(*RECORDED, strict=True)
    if not spent[0] <= flops <= spent[-1]:
        which = "smallest" if flops < spent[0] else "largest"
        nearest = RECORDED[0 if which == "smallest" else -1]
        return (
            f"of {describe(flops)} FLOPs no run is recorded, the {which} had {describe(nearest[0])}: {nats(nearest[1])}"
        )
    loss = float(np.interp(np.log(flops), np.log(spent), losses))
    return f"recorded runs of as many FLOPs, {describe(flops)}: {nats(loss)}"


def show_filled_masks(model):
    """Prints what a masked-LM fills in, each guess beside what the frequency of words alone gives it.

    Args:
        model: `BertBudgetMaskedLM` with a preprocessor.
    """
    tokenizer = model.preprocessor.tokenizer
    frequency = word_frequency(tokenizer)
    usual = np.argsort(frequency)[::-1][:5]
    console = LastingConsole(highlight=False)
    console.print("\nWhat the model fills in (in brackets: what the frequency of words alone gives the same word)")
    for sentence, masks in zip(SENTENCES, model.fill_mask(SENTENCES, k=5), strict=True):
        guesses = (
            f"{token} {share(probability, 1)} ({share(frequency[tokenizer.token_to_id(token)], 1)})"
            for token, probability in masks[0]
        )
        console.print(f"  {sentence}\n      {',  '.join(guesses)}", markup=False)
    told = ",  ".join(f"{tokenizer.id_to_token(int(entry))} ({share(frequency[entry], 1)})" for entry in usual)
    console.print(f"  any sentence, by the frequency of words\n      {told}", markup=False)


def word_frequency(tokenizer):
    """Returns the share of each entry of a vocabulary in the first books of the demo text, as a float array."""
    texts, characters = [], 0
    for chapter in novels.read(novels.TEXT):
        texts.append(chapter["text"])
        characters += len(chapter["text"])
        if characters > _COUNTED_CHARACTERS:
            break
    ids = np.concatenate([np.asarray(row) for row in tokenizer(texts)])
    return np.bincount(ids, minlength=tokenizer.vocabulary_size()) / len(ids)


class WithinSeconds(keras.callbacks.Callback):
    """Ends a `fit` after some seconds or updates, with a learning rate that has fallen to zero by then.

    Args:
        seconds: float, from the end of the first update on, for which everything is compiled.
        updates: int. The most that are made.
        learning_rate: float. The peak, after a tenth of seconds or updates.
    """

    def __init__(self, seconds, updates, learning_rate):
        super().__init__()
        self.seconds, self.updates, self.learning_rate = seconds, updates, learning_rate
        self.done, self.start = 0, None

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.learning_rate * linear(self._spent(), warmup=WARMUP)

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        self.start = self.start or time.monotonic()
        self.model.stop_training = self._spent() >= 1.0

    def _spent(self):
        seconds = time.monotonic() - self.start if self.start else 0.0
        return min(1.0, max(seconds / self.seconds, self.done / self.updates))


def read_authors():
    """Returns the task of telling who wrote a passage, and its examples.

    The training passages are of the books of the demo text, those to judge with of other books by the same authors,
    which no part of the demo has read.

    Returns:
        Tuple of `Task` and dict of `"train"` and `"test"` to `Examples`.
    """
    held_out = list(novels.read(novels.HELD_OUT))
    authors = tuple(sorted({passage["author"] for passage in held_out}))
    by_author = {author: [] for author in authors}
    for passage in novels.passages(novels.read(novels.TEXT)):
        if passage["author"] in by_author:
            by_author[passage["author"]].append(passage)
    # Passages at equal distances are of all parts of an author's books.
    train = [
        passages[index * len(passages) // PASSAGES] for passages in by_author.values() for index in range(PASSAGES)
    ]
    task = Task("authors", "authors", ("text",), "author", authors, ("accuracy",), None, (), ())
    return task, {"train": _examples(train, authors), "test": _examples(held_out, authors)}


def _examples(passages, authors):
    labels = np.array([authors.index(passage["author"]) for passage in passages])
    return Examples(([passage["text"] for passage in passages],), labels, ())


def tell_authors(model, path, seconds=SECONDS):
    """Finetunes an encoder for a minute to tell who wrote a passage, and judges it on books that it has not read.

    Args:
        model: `BertBudgetMaskedLM` with a preprocessor; its encoder is finetuned in place.
        path: str. Where the classifier is saved.
        seconds: float, without compilation. Defaults to a minute.

    Returns:
        dict of `accuracy`, `tfidf` and `chance`, shares, `passages`, `updates`, `examples` and `seconds`.
    """
    absl.logging.set_verbosity(absl.logging.ERROR)  # grain warns of its own threads, at each fit
    task, examples = read_authors()
    (texts,), (held_out,) = examples["train"].texts, examples["test"].texts
    classifier = BertBudgetTextClassifier(
        model.backbone,
        num_classes=len(task.labels),
        preprocessor=BertBudgetTextClassifierPreprocessor(model.preprocessor.tokenizer),
        label_names=list(task.labels),
    )
    rate = learning_rate_of(model.backbone.hidden_dim)
    updates = MOST_EPOCHS * -(-len(texts) // BATCH_SIZE)
    within = WithinSeconds(seconds, updates, rate)
    classifier.compile(keras.optimizers.Adam(rate, beta_2=BETA_2, epsilon=EPSILON, global_clipnorm=CLIP_NORM))
    start = time.monotonic()
    classifier.fit(
        texts,
        examples["train"].labels,
        batch_size=BATCH_SIZE,
        epochs=MOST_EPOCHS,
        callbacks=[within],
        verbose=0,
    )
    spent = time.monotonic() - start
    predicted = classifier.predict(held_out, verbose=0).argmax(axis=-1)
    classifier.save(path)
    return {
        "accuracy": float(np.mean(predicted == examples["test"].labels)),
        "tfidf": baselines(task, examples)["tfidf"]["test"]["accuracy"],
        "chance": 1 / len(task.labels),
        "passages": len(held_out),
        "updates": within.done,
        "examples": len(texts),
        "seconds": spent,
    }
