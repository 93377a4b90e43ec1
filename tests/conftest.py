"""What the tests share: the backend, a small text, and the corpus prepared from it."""

import itertools
import os
import random
import shutil
import sys
import tempfile

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:  # torch's threads of several workers spin for each other's cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import pytest

from budgetbert.corpus.prepare import prepare_corpus

_SUBJECTS = ("the cat", "a dog", "our teacher", "the old king", "a small bird", "the night train")
_VERBS = ("sees", "follows", "likes", "remembers", "draws", "never finds")
_PLACES = ("in the garden", "near the river", "at home", "under the bridge", "on monday", "in winter")


_SYLLABLES = ["ba", "con", "der", "est", "fil", "gor", "hu", "in", "jat", "kel", "lo", "mir", "na", "ost", "pra", "qui"]
_WORDS = [
    *(
        "the",
        "of",
        "and",
        "a",
        "in",
        "He",
        "Said,",
        "that",
        "it",
        "Paris",
        "café",
        "naïve",
        "Straße",
        "houses",
        "house;",
    ),
    *("“quoted”", "Don't", "1984", "half-open", "reader's", "(twice)", "walking,", "walked."),
    *("".join(syllables) for syllables in itertools.permutations(_SYLLABLES[:8], 3)),
    *("".join(syllables) for syllables in itertools.permutations(_SYLLABLES, 2)),
]
_COMPILED = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config):
    """Gives JAX one folder for compiled programs, processes of tests included: most train the same few models."""
    if _COMPILED not in os.environ:  # What recipes keep compiled is not the tests' to fill.
        config.compiled = os.environ[_COMPILED] = tempfile.mkdtemp(prefix="budgetbert-tests-")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def pytest_unconfigure(config):
    if hasattr(config, "compiled"):
        shutil.rmtree(config.compiled, ignore_errors=True)


# What is marked runs once, on the backend that stands here.
_RUNS_ONCE = {
    "without_backend": ("tensorflow", "no backend takes part; runs once, on TensorFlow"),
    "any_backend": ("jax", "any backend trains alike; runs once, on JAX, which trains in half the time"),
}


def pytest_collection_modifyitems(items):
    for name, (backend, reason) in _RUNS_ONCE.items():
        if os.environ["KERAS_BACKEND"] != backend:
            for item in items:
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def make_documents():
    """A function of (number, seed) that returns that many different documents of 5 to 80 words."""

    def make(number, seed=0):
        draw = random.Random(seed)
        return [
            f"{' '.join(draw.choices(_WORDS, k=draw.randint(5, 80)))} number{seed}x{index}." for index in range(number)
        ]

    return make


@pytest.fixture
def text_file(tmp_path, make_documents):
    """The path of a text file with 400 documents."""
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(make_documents(400)), encoding="utf-8")
    return path


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
    train(small_corpus.directory, directory, loggers="tensorboard", report=True)
    return directory


@pytest.fixture(autouse=True, scope="module")
def compiled_programs_are_dropped():
    """A worker would hold seven gigabytes of JAX's programs in the end; the folder has those that are used again."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture(autouse=True)
def seeded():
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)
    else:  # Keras takes 5 seconds to import, and some tests need none.
        random.seed(0)
        np.random.seed(0)
