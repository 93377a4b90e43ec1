import keras
import numpy as np
import pytest

from budgetbert.models import BertBudgetTokenClassifier, BertBudgetTokenClassifierPreprocessor

from .examples import TEXTS, encoder, masked_lm, to_numpy, tokenizer

TAGS = ["O", "B-LOC", "I-LOC"]
WORDS = [["The", "cat", "sat", "on", "the", "Straße"], ["Paris", "café"], ["a", "\u200d", "dog"]]
LABELS = [["O", "O", "O", "O", "B-LOC", "I-LOC"], ["B-LOC", "O"], ["O", "O", "O"]]


def tagger(family="tiny_frontier", sequence_length=16, **kwargs):
    preprocessor = BertBudgetTokenClassifierPreprocessor(tokenizer(), sequence_length=sequence_length)
    return BertBudgetTokenClassifier(encoder(family), TAGS, preprocessor, **kwargs)


def test_it_learns_words_and_strings_and_is_the_same_when_loaded(tmp_path):
    model = tagger(dropout=0.0)
    model.fit(WORDS[:2] * 8, LABELS[:2] * 8, epochs=25, batch_size=8, verbose=0)
    assert model.evaluate(WORDS, LABELS, verbose=0, return_dict=True)["accuracy"] > 0.8
    assert model.predict(WORDS[:2], verbose=0) == LABELS[:2]
    text = "The \u00adcat sat on (🎉) the\u00a0Straße"
    (found,) = model.predict([" ".join(WORDS[0])], verbose=0)
    assert [(entity["label"], entity["text"]) for entity in found] == [("LOC", "the Straße")]
    for entity in model.predict(text, verbose=0)[0]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
        assert 0 < entity["score"] <= 1
    assert model.predict(["", "\u200d"], verbose=0) == model.predict([[], []], verbose=0) == [[], []]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.predict(WORDS, verbose=0) == model.predict(WORDS, verbose=0)
    assert loaded.label_names == TAGS


def test_only_first_pieces_have_a_loss():
    model = tagger()
    inputs, labels, weights = model.encode(WORDS, LABELS)
    # The zero-width joiner is dropped: it has no piece, and no loss.
    assert weights.sum() == 10
    logits = to_numpy(model(inputs))
    chosen = logits[weights > 0]
    losses = np.log(np.exp(chosen).sum(-1)) - chosen[np.arange(10), labels[weights > 0]]
    found = model.evaluate(WORDS, LABELS, verbose=0, return_dict=True)
    np.testing.assert_allclose(found["loss"], losses.mean(), rtol=1e-4)
    twice = model.encode(WORDS, LABELS, sample_weight=[2, 1, 1])[2]
    assert twice.sum() == 16


def test_spans_in_strings_are_the_tags_of_their_words():
    model = tagger()
    text = "The cat, sat (on) the Straße"
    _, labels, weights = model.encode([text], [[(22, 28, "LOC"), {"start": 5, "end": 8, "label": "LOC"}]])
    assert labels[weights > 0].tolist() == [0, 1, 2, 0, 0, 0, 0, 0, 1]
    with pytest.raises(ValueError, match=r"3, 4, 'LOC'.* is at no word"):
        model.encode([text], [[(3, 4, "LOC")]])
    with pytest.raises(ValueError, match="at a word that another entity has"):
        model.encode([text], [[(0, 4, "LOC"), (2, 8, "LOC")]])
    with pytest.raises(ValueError, match="the tag 'B-PER', which is none of label_names: O, B-LOC, I-LOC"):
        model.encode([text], [[(0, 3, "PER")]])


def test_a_long_text_is_read_in_rows_that_overlap_and_every_word_is_judged_once():
    model = tagger(sequence_length=16)
    words = ["mat", "paris", "xyz"] * 20
    rows = model.preprocessor.rows_of([words, ["cat"]])
    assert rows.words.tolist() == [*range(60), 0]
    assert rows.inputs["token_ids"].shape[1] == 16
    first_ids = [tokenizer()(word)[0] for word in [*words, "cat"]]
    assert rows.inputs["token_ids"][rows.rows, rows.columns].tolist() == first_ids
    # Of a text's inner words each has at least a quarter of a row on both sides.
    inner = (rows.texts == 0) & (rows.words > 1) & (rows.words < 57)
    assert rows.columns[inner].min() > 3
    assert rows.columns[inner].max() < 13
    assert len(model.predict([words], verbose=0)[0]) == 60


def test_it_starts_from_a_pretrained_directory_and_goes_into_one(tmp_path):
    pretrained = masked_lm("tiny_24h")
    pretrained.save_to_preset(tmp_path / "preset")
    model = BertBudgetTokenClassifier.from_preset(str(tmp_path / "preset"), label_names=TAGS)
    np.testing.assert_array_equal(
        to_numpy(model.backbone.token_embedding.embeddings), to_numpy(pretrained.backbone.token_embedding.embeddings)
    )
    model.save_to_preset(tmp_path / "tagger")
    loaded = BertBudgetTokenClassifier.from_preset(str(tmp_path / "tagger"))
    assert loaded.label_names == TAGS
    assert loaded.predict(TEXTS, verbose=0) == model.predict(TEXTS, verbose=0)
    with pytest.raises(ValueError, match="give label_names"):
        BertBudgetTokenClassifier.from_preset(str(tmp_path / "preset"))


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (WORDS, [["O"], *LABELS[1:]], "Text 0 has 6 words and 1 tags"),
        (WORDS, LABELS[:2], "3 texts and 2 labels"),
        (WORDS, [["O"] * 5 + ["B-PER"], *LABELS[1:]], "Text 0 has the tag 'B-PER'"),
        ([*WORDS[:2], "a dog"], LABELS, "Text 2 is a string, unlike text 0"),
        ([], [], "texts are empty"),
        ([["a", 3]], [["O", "O"]], "Text 0 has the word 3"),
    ],
)
def test_labels_that_do_not_match_the_words_are_one_sentence(x, y, words):
    with pytest.raises(ValueError, match=words):
        tagger().fit(x, y, verbose=0)


def test_label_names_are_tags():
    for names in ("O", ["O"], ["O", "O"], ["O", 3]):
        with pytest.raises(ValueError, match="label_names"):
            BertBudgetTokenClassifier(encoder(), names)


def test_parts_of_speech_are_an_entity_for_each_word():
    preprocessor = BertBudgetTokenClassifierPreprocessor(tokenizer(), sequence_length=16)
    model = BertBudgetTokenClassifier(encoder(), ["NOUN", "VERB"], preprocessor)
    assert [entity["text"] for entity in model.predict(["the cat sat."], verbose=0)[0]] == ["the", "cat", "sat", "."]
