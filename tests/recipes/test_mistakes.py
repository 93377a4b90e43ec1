"""A mistake in flags, paths or names is one sentence, told before Keras is imported, and leaves nothing behind."""

import pytest

from tests.programs import call

pytestmark = pytest.mark.without_backend

TRAINING = ("academic_24h", "cramming_24h", "frontier", "lamb_76min")
OF_A_RUN = [
    ({"--corpus": "nowhere"}, "nowhere"),
    ({"--corpus": None}, "--corpus is missing"),
    ({"--output_dir": None}, "--output_dir is missing"),
    ({"--preset": "mni"}, "--preset mni is unknown"),
    ({"--budget": "10"}, "--budget '10' cannot be read"),
    ({"--budget": "0s"}, "--budget '0s' is no amount"),
    ({"--checkpoint_every": "often"}, "--checkpoint_every 'often' cannot be read"),
    ({"--mask_rate": "1.5"}, "1.5"),
    ({"--marks": "2"}, "--marks '2' cannot be read"),
    ({"--early_stop": "soon"}, "--early_stop 'soon' cannot be read"),
    ({"--loggers": "tensorbord"}, "--loggers 'tensorbord' is unknown"),
    ({"--devices": "two"}, "--devices 'two' cannot be read"),
    ({"--batch_size": "48", "--micro_batch_size": "32"}, "is not a multiple of --micro_batch_size 32"),
    ({"--learning_rate": "nan"}, "is no finite number"),
    ({"--baget": "10m"}, "Unknown command line flag 'baget'"),
    ({"--seed": "one"}, "--seed=one"),
    ({"--initial_model": "no/where/at all"}, "--initial_model no/where/at all does not exist"),
    ({"--initial_model": "/dev/null"}, "--initial_model /dev/null is neither a file nor a folder"),
    ({"--initial_model": ".", "--preset": "mini"}, "--preset says what --initial_model says too"),
]
OF_OTHERS = [
    ("continue_24h", {"--corpus": "demo"}, "--initial_model is missing"),
    ("export_model", {"--model": "nowhere", "--format": "onnx"}, "--model nowhere"),
    ("export_model", {"--format": "onnx"}, "--model is missing"),
    ("export_model", {"--model": "nowhere", "--format": "tflite"}, "--format=tflite"),
    ("finetune", {"--model": "nowhere", "--train": "text.txt"}, "--model nowhere"),
    ("finetune", {"--model": "."}, "--train is missing"),
    ("finetune", {"--model": ".", "--train": "nowhere.csv"}, "--train nowhere.csv cannot be read"),
    ("finetune_glue", {"--model": "nowhere", "--glue_dir": "."}, "--model nowhere"),
    ("finetune_glue", {"--model": ".", "--glue_dir": "nowhere"}, "nowhere"),
    ("prepare_corpus", {"--corpus": "nowhere"}, "nowhere"),
    ("prepare_corpus", {}, "--corpus is missing"),
]


@pytest.fixture
def refused(tmp_path):
    """A function that runs a recipe where an import of Keras fails, and returns the sentence with which it ends."""
    (tmp_path / "keras.py").write_text("raise ImportError('Keras was imported')")
    (tmp_path / "text.txt").write_text("A document.\n\nAnother one.\n")

    def run(recipe, given):
        given = {"--output_dir": tmp_path / "out", **given}
        words = [word for name, value in given.items() if value is not None for word in (name, value)]
        done = call(f"recipes/{recipe}.py", *words, first_on_path=tmp_path)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == [
            "keras.py",
            "text.txt",
        ]
        return done.stderr

    return run


@pytest.mark.parametrize("recipe", TRAINING)
def test_a_training_recipe_refuses_a_corpus_that_is_not_there_and_an_unknown_preset(refused, recipe, tmp_path):
    assert "nowhere" in refused(recipe, {"--corpus": "nowhere"})
    assert "--preset mni is unknown" in refused(recipe, {"--corpus": tmp_path / "text.txt", "--preset": "mni"})


@pytest.mark.parametrize(("given", "sentence"), OF_A_RUN, ids=lambda value: str(value)[:40])
def test_what_is_asked_of_a_run_is_read_first(refused, tmp_path, given, sentence):
    assert sentence in refused("academic_24h", {"--corpus": tmp_path / "text.txt", **given})


@pytest.mark.parametrize(("recipe", "given", "sentence"), OF_OTHERS, ids=lambda value: str(value)[:40])
def test_the_other_recipes_read_what_is_asked_first(refused, recipe, given, sentence):
    assert sentence in refused(recipe, given)


def test_a_backend_that_is_not_there_is_named(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    sentence = refused("academic_24h", {"--corpus": tmp_path / "text.txt"})
    assert "KERAS_BACKEND is 'theano': set it to one that is installed here" in sentence
