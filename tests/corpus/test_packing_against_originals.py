"""How full our rows are beside those of the originals on the same text; `pytest -s -m slow` prints the table."""

import random

import numpy as np
import pytest

from budgetbert.batches.masking import predictions_per_row
from budgetbert.corpus.packing import pair_rows, sentence_rows, split_sentences
from budgetbert.tokenization.encoder import Encoder, PieceCounter
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import train_vocabulary
from tests.corpus import original_packing
from tests.texts import real_documents

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]
LENGTH, CHARACTERS = 128, 3_000_000
SPECIAL = {"[PAD]": 0, "[CLS]": 2, "[SEP]": 3}


@pytest.fixture(scope="module", params=["wikipedia", "novels"])
def documents(request):
    """The sentences of 3 MB of text as lists of arrays of ids."""
    texts = real_documents(request.param, CHARACTERS)
    encode = Encoder(train_vocabulary(PieceCounter(Normalizer())(texts), 16_384), Normalizer(), np.uint16)
    return request.param, [[ids for ids in encode(split_sentences(text)) if len(ids)] for text in texts]


def shape_of(lengths):
    """Mean real tokens of a row, shares of full ones and of those that reach 126, predictions per 4,096 rows."""
    lengths = np.asarray(lengths)
    predictions = [min(19, max(1, round(0.15 * length))) for length in lengths]
    return {
        "tokens": lengths.mean(),
        "full": np.mean(lengths == LENGTH),
        "predictions": 4096 * np.mean(predictions),
        "reach 126": np.mean(lengths > 126),
    }


def show(name, what, theirs, ours):
    for who, shape in (("original", theirs), ("ours", ours)):
        print(f"\n{name:10} {what:10} {who:9}", *(f"{key} {value:.3f}" for key, value in shape.items()), end="")


def test_rows_of_sentences_are_as_full_as_24h_bert_s(documents):
    name, documents = documents
    lists = [[ids.tolist() for ids in document] for document in documents]
    theirs = shape_of(
        [
            len(row) + 2
            for number, document in enumerate(lists)
            for row in original_packing.sentence_rows(document, LENGTH, random.Random(number))
        ]
    )
    ours = shape_of(
        np.concatenate(
            [
                np.count_nonzero(sentence_rows(document, LENGTH, SPECIAL, np.random.default_rng(number)), axis=1)
                for number, document in enumerate(documents)
            ]
        )
    )
    show(name, "sentences", theirs, ours)
    assert predictions_per_row(0.15, LENGTH) == 19
    # What the original drops would be the ends of documents, which do not fill a row.
    assert ours["tokens"] > 0.98 * theirs["tokens"]
    assert ours["predictions"] > 0.98 * theirs["predictions"]
    assert ours["reach 126"] > theirs["reach 126"] - 0.02


def test_pairs_are_as_long_as_bert_s(documents):
    name, documents = documents
    lists = [[ids.tolist() for ids in document] for document in documents]
    pairs = [
        pair
        for number in range(len(lists))
        for pair in original_packing.pair_rows(lists, number, LENGTH, random.Random(number))
    ]
    theirs = shape_of([len(first) + len(second) + 3 for first, second, _ in pairs])
    rows, labels = pair_rows(documents, LENGTH, SPECIAL, map(np.random.default_rng, range(len(documents))))
    lengths = np.count_nonzero(rows, axis=1)
    theirs["random"], ours = np.mean([label for *_, label in pairs]), shape_of(lengths)
    ours["random"] = labels.mean()
    original = np.array([len(first) + len(second) for first, second, _ in pairs])
    is_random = np.array([label for *_, label in pairs])
    theirs["gap"] = original[is_random].mean() - original[~is_random].mean()
    ours["gap"] = lengths[labels == 1].mean() - lengths[labels == 0].mean()
    show(name, "pairs", theirs, ours)
    assert ours["tokens"] > 0.98 * theirs["tokens"]
    # the length gives the label away no more than the original's
    assert abs(ours["gap"]) < abs(theirs["gap"]) + 2
    assert ours["random"] == pytest.approx(theirs["random"], abs=0.03)
