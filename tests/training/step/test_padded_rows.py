"""Training on rows that end in [PAD], with the special ids of bert-base-uncased: 0, 100, 101, 102, 103."""

import hashlib

import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.batches import LengthBins, Loader, Masking, stack
from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.models import BertBudgetMaskedLM
from budgetbert.training.run.directory import Run
from budgetbert.training.step.base import make_step
from budgetbert.training.step.objectives import MaskedLanguageModeling
from tests.training.runs import train

SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
LENGTH = 32


@pytest.fixture(scope="module")
def packed_corpus(small_text, small_corpus, tmp_path_factory):
    """The prepared corpus of `small_text` with a vocabulary that has its special tokens where BERT's has them."""
    words = [entry for entry in small_corpus.vocabulary if entry not in SPECIAL and not entry.startswith("[unused")]
    entries = ["[PAD]", *(f"[unused{i}]" for i in range(99)), *list(SPECIAL)[1:], *words]
    directory = tmp_path_factory.mktemp("bert")
    (directory / "vocabulary.txt").write_text("\n".join(entries), encoding="utf-8")
    vocabulary = str(directory / "vocabulary.txt")
    return prepare_corpus(str(small_text), directory / "corpus", vocabulary=vocabulary, sequence_length=32, workers=1)


@pytest.fixture(scope="module", params=["sentences", "pairs"])
def padded_corpus(request, small_text, packed_corpus, tmp_path_factory):
    """The corpus of `packed_corpus` in rows of another kind."""
    vocabulary, directory = str(packed_corpus.directory / "vocabulary.txt"), tmp_path_factory.mktemp("padded")
    options = {"rows": request.param, "vocabulary": vocabulary, "sequence_length": LENGTH, "validation_fraction": 0.1}
    return prepare_corpus(str(small_text), directory / "corpus", workers=1, **options)


def make_step_of(family, vocabulary_size):
    keras.utils.set_random_seed(0)
    model = BertBudgetMaskedLM.from_preset(
        f"tiny_{family}", load_weights=False, vocabulary_size=vocabulary_size, dropout=0.0, num_layers=1
    )
    return make_step(model, keras.optimizers.SGD(), MaskedLanguageModeling())


def gradient(step, batches):
    """Loss and gradient of micro-batches: with SGD at rate 1 the change of the weights is the gradient."""
    before = [ops.convert_to_numpy(variable).copy() for variable in step.model.trainable_variables]
    evaluated = sum(float(step.evaluate(batch)["loss"]) for batch in batches)
    for number, batch in enumerate(batches):
        step.accumulate(stack([batch], 2), 1, number)
    loss = float(step.apply(1.0)["loss"])
    step.synchronize()
    after = [ops.convert_to_numpy(variable) for variable in step.model.trainable_variables]
    return loss, evaluated, np.concatenate([(old - new).ravel() for old, new in zip(before, after, strict=True)])


@pytest.mark.parametrize("family", ["bert", "crammed"])
def test_padding_changes_neither_loss_nor_gradient(padded_corpus, family):
    rows = padded_corpus.rows("train")[:]
    lengths = np.count_nonzero(rows, axis=1)
    length = np.bincount(lengths[lengths < LENGTH - 4]).argmax()
    masking = Masking(0.15, padded_corpus.vocabulary, SPECIAL, seed=1)
    loader = Loader(rows[lengths == length][:8], masking, seed=1, kind=padded_corpus.rows_kind)
    padded = loader.micro_batch(0, 8)
    assert padded["padding_mask"].sum() == 8 * length
    unpadded = {name: array[:, :length] if array.shape[1] == LENGTH else array for name, array in padded.items()}
    del unpadded["padding_mask"]
    results = [gradient(make_step_of(family, 384), [batch]) for batch in (padded, unpadded)]
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-5)
    assert np.linalg.norm(results[0][2] - results[1][2]) < 1e-5 * np.linalg.norm(results[1][2])


def test_rows_are_masked_in_proportion_to_their_tokens(padded_corpus):
    masking = Masking(0.15, padded_corpus.vocabulary, SPECIAL, seed=1)
    rows = padded_corpus.rows("train")[:]
    batch = Loader(rows, masking, seed=1, shuffle=False, kind=padded_corpus.rows_kind).micro_batch(0, len(rows))
    tokens = batch["padding_mask"].sum(axis=1)
    assert tokens.min() < 20
    np.testing.assert_array_equal(batch["weights"].sum(axis=1), np.clip(np.round(0.15 * tokens), 1, 5))


@pytest.mark.slow
def test_a_run_on_padded_rows_learns_and_keeps_the_special_ids(padded_corpus, tmp_path):
    assert padded_corpus.special_ids == SPECIAL
    model = train(padded_corpus.directory, tmp_path / "run", learning_rate=3e-3)
    final = Run(str(tmp_path / "run")).final
    assert final["validation_loss"] < final["first_validation_loss"] - 0.5
    tokenizer = model.preprocessor.tokenizer
    ids = [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id]
    assert [*ids, tokenizer.mask_token_id] == list(SPECIAL.values())
    (row,) = tokenizer(["the cat [MASK] \u2603"])
    assert [int(token) for token in row][-2:] == [SPECIAL["[MASK]"], SPECIAL["[UNK]"]]
    (filled,) = model.fill_mask(["the cat sees [MASK] dog"], k=3)
    assert len(filled[0]) == 3
    written = hashlib.sha256((tmp_path / "run" / "vocabulary.txt").read_bytes()).hexdigest()
    assert written == padded_corpus.manifest["vocabulary"]["sha256"]


@pytest.mark.parametrize("family", ["bert", "crammed"])
def test_bins_of_lengths_change_neither_the_sums_of_a_step_nor_its_gradient(padded_corpus, family):
    masking = Masking(0.15, padded_corpus.vocabulary, SPECIAL, seed=1)
    rows = padded_corpus.rows("train")[:]
    # Half of the rows are short.
    shortest_first = np.argsort(np.count_nonzero(rows, axis=1), kind="stable")
    rows = rows[np.concatenate([shortest_first[:30], shortest_first[-30:]])]
    loader = Loader(rows, masking, seed=1, kind=padded_corpus.rows_kind)
    bins = LengthBins(loader, 16, 8)
    binned = [bins.micro_batch(place, 4) for place in range(0, 16, 4)]
    assert len({batch["token_ids"].shape for batch in binned}) > 1
    results = [
        gradient(make_step_of(family, 384), batches)
        for batches in ([loader.micro_batch(place, 4) for place in range(0, 16, 4)], binned)
    ]
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-5)
    assert np.linalg.norm(results[0][2] - results[1][2]) < 1e-5 * np.linalg.norm(results[1][2])
