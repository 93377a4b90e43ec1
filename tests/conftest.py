"""What the tests share: the backend, a small text, and the corpus prepared from it."""

import os
import pathlib
import random

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:  # torch's threads of several workers spin for each other's cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")  # what recipes keep compiled is not the tests' to fill

import keras
import pytest

from budgetbert.corpus.prepare import prepare_corpus

_SUBJECTS = ("the cat", "a dog", "our teacher", "the old king", "a small bird", "the night train")
_VERBS = ("sees", "follows", "likes", "remembers", "draws", "never finds")
_PLACES = ("in the garden", "near the river", "at home", "under the bridge", "on monday", "in winter")


# No backend takes part in these, so they run once, on TensorFlow.
_WITHOUT_BACKEND = (
    *("corpus/", "batches/", "recipes/test_prepare_corpus", "tools/", "training/test_plan", "training/test_run"),
    *("training/test_guards", "training/test_record", "training/test_report", "training/test_loggers"),
    *("training/test_processes", "test_launch"),
    *("training/test_outlook", "training/test_reference"),
    *("glue/test_data", "glue/test_metrics", "glue/test_protocols", "glue/test_batches"),
    *("glue/test_baseline", "glue/test_means", "glue/test_published", "glue/test_report", "glue/test_submission"),
    "glue/test_table",
    *("test_budget", "test_schedules", "test_normalization", "models/test_tokenizer_agreement"),
)


def pytest_configure(config):
    config.addinivalue_line("markers", "without_backend: no backend takes part; runs once, on TensorFlow")


def pytest_collection_modifyitems(items):
    if keras.backend.backend() == "tensorflow":
        return
    skip = pytest.mark.skip(reason="no backend takes part; runs once, on TensorFlow")
    for item in items:
        path = item.path.relative_to(pathlib.Path(__file__).parent).as_posix()
        if path.startswith(_WITHOUT_BACKEND) or item.get_closest_marker("without_backend"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def small_text(tmp_path_factory):
    """A text file of 300 documents of simple sentences, about 130,000 words."""
    generator = random.Random(0)

    def sentence():
        words = (generator.choice(part) for part in (_SUBJECTS, _VERBS, _SUBJECTS, _PLACES))
        return " ".join(words).capitalize() + "."

    documents = ("\n".join(sentence() for _ in range(generator.randint(20, 60))) for _ in range(300))
    path = tmp_path_factory.mktemp("text") / "small.txt"
    path.write_text("\n\n".join(documents), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_corpus(small_text, tmp_path_factory):
    """The prepared corpus of `small_text`, rows of 32 tokens."""
    directory = tmp_path_factory.mktemp("corpus") / "small"
    return prepare_corpus(str(small_text), directory, vocabulary_size=256, sequence_length=32, workers=1)


@pytest.fixture(scope="session")
def two_corpora(small_text, tmp_path_factory):
    """`small_text` as `pairs` rows of 32 and of 64 tokens with one vocabulary, as `--corpus` names them."""
    short, long = (tmp_path_factory.mktemp("corpora") / name for name in ("short", "long"))
    options = {"rows": "pairs", "validation_fraction": 0.05, "workers": 1}
    prepare_corpus(str(small_text), short, vocabulary_size=256, sequence_length=32, **options)
    prepare_corpus(str(small_text), long, vocabulary=str(short / "vocabulary.txt"), sequence_length=64, **options)
    return f"{short},{long}"


@pytest.fixture(scope="session")
def finished_run(small_corpus, tmp_path_factory):
    """The directory of a run of 12 steps on `small_corpus`, logged to TensorBoard too; only to be read."""
    from tests.training.runs import train

    directory = tmp_path_factory.mktemp("run") / "finished"
    train(small_corpus.directory, directory, loggers="tensorboard")
    return directory


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)
