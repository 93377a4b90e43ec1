import json

import keras
import numpy as np
import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning.published.blimp import MinimalPair, PseudoLogLikelihood, judge, read_blimp, summary
from budgetbert.models import BertBudgetMaskedLM, BertBudgetMaskedLMPreprocessor, BertBudgetTokenizer

WORDS = ["the", "a", "cat", "cats", "dog", "sees", "see", "##s", "sleep", "old", "in", "garden"]
SENTENCES = ["the cat sees a dog", "cats sleep", "", "the unknown cat sees a", "a old"]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])
    return BertBudgetMaskedLM.from_preset(
        "tiny_frontier",
        load_weights=False,
        num_layers=1,
        vocabulary_size=64,  # a table that is padded beyond the vocabulary
        initializer_range=0.2,
        preprocessor=BertBudgetMaskedLMPreprocessor(tokenizer, sequence_length=16),
    )


def slowly(model, row):
    """The sum over the tokens of one sentence, each masked in a row of its own without padding."""
    total = 0.0
    for place in range(1, len(row) - 1):
        ids = np.array([row], "int32")
        ids[0, place] = model.preprocessor.tokenizer.mask_token_id
        inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
        inputs["mask_positions"] = np.array([[place]], "int32")
        logits = keras.Model.predict_on_batch(model, inputs)[0, 0, : 5 + len(WORDS)].astype("float64")
        total += logits[row[place]] - np.log(np.exp(logits).sum())
    return total


def test_it_is_the_sum_over_tokens_that_are_masked_one_at_a_time(model):
    likelihood = PseudoLogLikelihood(model)
    rows = likelihood.encode(SENTENCES)
    assert [len(row) for row in rows] == [7, 4, 2, 7, 4]
    expected = [slowly(model, row) for row in rows]
    np.testing.assert_allclose(likelihood(rows), expected, rtol=1e-5, atol=1e-5)
    # equal rows are run once, and their sums are equal to the bit
    twice = likelihood([*rows, rows[0]])
    assert twice[-1] == twice[0]
    np.testing.assert_allclose(twice[:-1], expected, rtol=1e-5, atol=1e-5)


def test_sentences_longer_than_the_positions_are_refused(model):
    with pytest.raises(InputError, match="602 tokens: the model has 512 positions"):
        PseudoLogLikelihood(model).encode(["cat " * 600])


def test_the_likelier_of_two_sentences_is_told_and_a_tie_counts_half(model):
    likelihood = PseudoLogLikelihood(model)
    pair = ("the cat sees a dog", "the cat see a dog")
    first, second = likelihood(likelihood.encode(pair))
    better, worse = pair if first > second else pair[::-1]
    pairs = [
        MinimalPair(better, worse, "right", "agreement"),
        MinimalPair(worse, better, "wrong", "agreement"),
        MinimalPair("The cat", "the CAT", "same", "case"),  # the same tokens
    ]
    found = judge(model, pairs)
    assert found["paradigms"] == {"right": 1.0, "wrong": 0.0, "same": 0.5}
    assert found["phenomena"] == {"agreement": 0.5, "case": 0.5}
    assert found["accuracy"] == 0.5
    assert found["ties"] == pytest.approx(1 / 3)


@pytest.mark.without_backend
def test_the_accuracy_is_the_mean_over_paradigms_with_its_error():
    points = [1, 1, 1, 0, 0.5, 0]
    pairs = [MinimalPair("", "", "large", "one")] * 4 + [MinimalPair("", "", "small", "two")] * 2
    found = summary(pairs, np.array(points))
    assert found["accuracy"] == pytest.approx((0.75 + 0.25) / 2)
    # the variance of a mean of four points, and of two
    assert found["standard_error"] == pytest.approx(np.sqrt(0.1875 / 4 + 0.0625 / 2) / 2)


@pytest.mark.without_backend
def test_so_many_of_each_paradigm_are_drawn_the_same_every_time(tmp_path):
    rows = [(f"good {n}", f"bad {n}", f"p{n % 3}", "s-selection" if n % 3 == 0 else "binding") for n in range(30)]
    names = ("sentence_good", "sentence_bad", "UID", "linguistics_term")
    path = tmp_path / "blimp.jsonl"
    path.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    assert len(read_blimp(path)) == 30
    assert read_blimp(path)[0] == MinimalPair("good 0", "bad 0", "p0", "argument_structure")
    some = read_blimp(path, pairs_per_paradigm=4)
    assert [sum(pair.paradigm == name for pair in some) for name in ("p0", "p1", "p2")] == [4, 4, 4]
    assert some == read_blimp(path, pairs_per_paradigm=4)
    assert some != read_blimp(path, pairs_per_paradigm=4, seed=1)


@pytest.mark.without_backend
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"sentence_good": "a", "sentence_bad": "b"}', "no column 'UID'"),
        (
            '{"sentence_good": "a", "sentence_bad": "b", "UID": "p", "linguistics_term": "q"}\n'
            '{"sentence_good": "a", "sentence_bad": "", "UID": "p", "linguistics_term": "q"}',
            "line 2: a column has no text",
        ),
    ],
)
def test_another_file_is_refused(text, told, tmp_path):
    path = tmp_path / "blimp.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_blimp(path)
