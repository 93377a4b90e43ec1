import itertools

import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.models import BertBudgetTextEmbedder, BertBudgetTextEmbedderPreprocessor
from budgetbert.models.contrastive import EmbeddingLoss, contrast_labels, embedding_losses, score_labels
from tests.checks import gradient_of

from .examples import TEXTS, encoder, masked_lm, to_numpy, tokenizer

PAIRS = (["the cat", "the dog", "Paris", "on the mat"], ["a cat", "a dog", "paris.", "mat"])
TEMPERATURE = 0.1


def embedder(family="tiny_frontier", sequence_length=16, dropout=0.0, **kwargs):
    preprocessor = BertBudgetTextEmbedderPreprocessor(tokenizer(), sequence_length=sequence_length)
    return BertBudgetTextEmbedder(encoder(family, dropout=dropout), preprocessor, **kwargs)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def reference(texts, vectors):
    """The mean loss of anchors by its definition, and its gradient by the vectors, in float64.

    Args:
        texts: tuple of lists of str: anchors, positives, negatives.
        vectors: array `[lists, examples, width]`.
    """
    directions = unit(vectors)
    candidates = [(column, row) for column in range(1, len(texts)) for row in range(len(texts[0]))]
    loss, by_direction = 0.0, np.zeros_like(directions)
    for row, anchor in enumerate(texts[0]):
        right = {anchor} | {texts[1][r] for r in range(len(texts[0])) if texts[0][r] == anchor}
        used = [(c, r) for c, r in candidates if (c, r) == (1, row) or texts[c][r] not in right]
        scores = np.array([directions[0, row] @ directions[place] for place in used]) / TEMPERATURE
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        own = used.index((1, row))
        loss -= np.log(shares[own]) / len(texts[0])
        shares[own] -= 1.0
        for place, share in zip(used, shares / TEMPERATURE / len(texts[0]), strict=True):
            by_direction[0, row] += share * directions[place]
            by_direction[place] += share * directions[0, row]
    across = by_direction - (by_direction * directions).sum(-1, keepdims=True) * directions
    return loss, across / np.linalg.norm(vectors, axis=-1, keepdims=True)


BATCHES = {
    "pairs": PAIRS,
    "triplets": (*PAIRS, ["a mat", "cat", "the dog", "on"]),
    "the same texts again": (["a", "a", "b", "c", "d"], ["b", "c", "d", "d", "a"], ["c", "e", "a", "f", "d"]),
}


@pytest.mark.parametrize("case", BATCHES)
def test_the_contrastive_loss_and_its_gradient_are_those_of_its_definition(case):
    texts = BATCHES[case]
    vectors = np.random.default_rng(0).normal(size=(len(texts), len(texts[0]), 8))
    loss, gradient = reference(texts, vectors)
    rows = vectors.transpose(1, 0, 2).reshape(-1, 8).astype("float32")
    labels = contrast_labels(texts).reshape(-1, 4)
    # Rows of padding, which a last batch has, change nothing.
    padding = np.array([[-1, -1, 0, 0]] * 3, "int32")
    rows, labels = np.concatenate([rows, np.ones((3, 8), "float32")]), np.concatenate([labels, padding])
    variable = keras.Variable(rows)

    def mean_loss(labels):
        return ops.sum(embedding_losses(variable.value, labels, TEMPERATURE)) / len(texts[0])

    np.testing.assert_allclose(to_numpy(mean_loss(ops.convert_to_tensor(labels))), loss, rtol=1e-5)
    (found,) = gradient_of(mean_loss, [variable])(labels)
    np.testing.assert_allclose(found[-3:], 0.0, atol=1e-7)
    found = found[:-3].reshape(len(texts[0]), len(texts), 8).transpose(1, 0, 2)
    np.testing.assert_allclose(found, gradient, atol=1e-5)


def test_the_loss_of_scores_wants_the_order_of_the_scores():
    rng = np.random.default_rng(0)
    vectors, scores = rng.normal(size=(6, 2, 8)).astype("float32"), np.array([3, 1, 4, 1, 5, 0], "float32")
    cosines = (unit(vectors[:, 0]) * unit(vectors[:, 1])).sum(-1) / TEMPERATURE
    wrong = [cosines[a] - cosines[b] for a, b in itertools.permutations(range(6), 2) if scores[a] < scores[b]]
    expected = np.log1p(np.exp(wrong).sum())
    labels = ops.convert_to_tensor(score_labels(scores).reshape(-1, 3))
    found = to_numpy(embedding_losses(ops.convert_to_tensor(vectors.reshape(-1, 8)), labels, TEMPERATURE))
    np.testing.assert_allclose(found.reshape(6, 2), np.stack([np.full(6, expected), np.zeros(6)], 1), rtol=1e-5)


def test_sizes_are_trained_beside_the_whole_vectors():
    vectors = np.random.default_rng(0).normal(size=(8, 8)).astype("float32")
    labels = contrast_labels(PAIRS).reshape(-1, 4)
    whole, half = (to_numpy(embedding_losses(vectors[:, :size], ops.convert_to_tensor(labels))) for size in (8, 4))
    both = EmbeddingLoss(sizes=(4,))(labels, vectors, sample_weight=(labels[:, 1] == 0).astype("float32"))
    np.testing.assert_allclose(to_numpy(both), (whole + half)[::2].mean() / 2, rtol=1e-5)


@pytest.mark.parametrize("family", ["tiny_bert", "tiny_frontier"])
def test_vectors_are_means_over_tokens_or_first_tokens(family):
    model = embedder(family)
    inputs = model.preprocessor(TEXTS[:4])
    hidden = to_numpy(model.backbone(inputs))
    used = to_numpy(inputs["padding_mask"])[:, :, None]
    mean = (hidden * used).sum(1) / used.sum(1)
    np.testing.assert_allclose(model.encode_text(TEXTS[:4], verbose=0), unit(mean), atol=1e-5)
    first = BertBudgetTextEmbedder(model.backbone, model.preprocessor, pooling="first", normalize=False)
    np.testing.assert_allclose(first.encode_text(TEXTS[:4], verbose=0), hidden[:, 0], atol=1e-5)


def test_it_learns_pairs_and_is_the_same_when_loaded(tmp_path):
    model = embedder(sizes=[32])
    model.fit(tuple(column * 4 for column in PAIRS), epochs=10, batch_size=8, verbose=0)
    anchors, positives = (model.encode_text(column, verbose=0) for column in PAIRS)
    assert (anchors @ positives.T).argmax(axis=1).tolist() == [0, 1, 2, 3]
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    for loaded in (
        keras.models.load_model(tmp_path / "model.keras"),
        BertBudgetTextEmbedder.from_preset(str(tmp_path / "preset")),
    ):
        np.testing.assert_allclose(loaded.encode_text(PAIRS[0], verbose=0), anchors, atol=1e-6)
        assert (loaded.sizes, loaded.pooling, loaded.normalize) == ((32,), "mean", True)


@pytest.mark.slow
def test_triplets_scores_and_plain_texts_train_and_are_judged():
    model = embedder(dropout=0.1)
    fit = {"epochs": 2, "batch_size": 4, "verbose": 0}
    triplets = (*PAIRS, PAIRS[0])
    history = model.fit(triplets, validation_data=(triplets,), **fit).history
    assert np.isfinite(history["val_loss"]).all()
    model.fit(PAIRS, [1, 0, 0.5, 0.2], **fit)
    before = model.evaluate(TEXTS[:4], verbose=0)
    model.fit(TEXTS[:4], **{**fit, "epochs": 10})
    assert model.evaluate(TEXTS[:4], verbose=0) < before
    weighted = model.evaluate(PAIRS, sample_weight=[1, 0, 0, 0], verbose=0)
    labels, vectors = contrast_labels(PAIRS).reshape(-1, 4), np.empty((8, 128), "float32")
    vectors[::2], vectors[1::2] = (model.encode_text(column, verbose=0) for column in PAIRS)
    np.testing.assert_allclose(weighted, to_numpy(embedding_losses(vectors, labels))[0], rtol=1e-3)


def test_parts_of_vectors_have_the_length_1_again():
    model = embedder()
    whole, part = (model.encode_text(TEXTS[:2], size=size, verbose=0) for size in (None, 16))
    np.testing.assert_allclose(part, unit(whole[:, :16]), atol=1e-6)
    assert part.dtype == np.float32
    assert model.encode_text("Paris", verbose=0).shape == (1, 128)
    with pytest.raises(ValueError, match=r"1 to 128, the width of the vectors\. Received: 129"):
        model.encode_text("Paris", size=129, verbose=0)


def test_a_preset_of_a_masked_lm_gives_an_embedder(tmp_path):
    pretrained = masked_lm()
    pretrained.save_to_preset(tmp_path / "preset")
    model = BertBudgetTextEmbedder.from_preset(str(tmp_path / "preset"))
    ids = {"token_ids": np.full((1, 4), 7, "int32"), "padding_mask": None, "segment_ids": None}
    np.testing.assert_allclose(to_numpy(model(ids)), unit(to_numpy(pretrained.backbone(ids)).mean(1)), atol=1e-5)


WRONG = {
    "pooling": (lambda: embedder(pooling="max"), "`pooling` must be one of"),
    "sizes": (lambda: embedder(sizes=[128]), "under the encoder's width of 128"),
    "temperature": (lambda: embedder(temperature=0), "`temperature` must be positive"),
    "labels for triplets": (lambda: embedder().fit((*PAIRS, PAIRS[0]), [1, 2, 3, 4]), "Scores are a number for each"),
    "names as scores": (lambda: embedder().fit(PAIRS, ["a", "b", "a", "b"]), "Scores are a number for each"),
    "one column longer": (lambda: embedder().fit((PAIRS[0], PAIRS[1][:3])), "equally many, not 4, 3"),
    "a text that is none": (lambda: embedder().fit((PAIRS[0], ["a", None, "b", "c"])), "Text 1 is None"),
    "pairs to predict": (lambda: embedder().predict(PAIRS), "reads one text at a time"),
    "plain texts without dropout": (lambda: embedder().fit(TEXTS), "other dropout, and the encoder has none"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_embedded_or_learned_is_one_sentence(case):
    act, told = WRONG[case]
    with pytest.raises(ValueError, match=told):
        act()
