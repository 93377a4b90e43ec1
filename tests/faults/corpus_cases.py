"""Damaged prepared corpora: opened, all rows read, verified, and their page drawn."""

import numpy as np

from budgetbert.corpus import report, store
from budgetbert.corpus.prepare import is_prepared, prepare_corpus
from budgetbert.errors import InputError
from tests.faults import damage
from tests.faults.fuzz import Silent
from tests.faults.texts import write_text

_ARRAYS = ("int64", "float16", ">u2", "int16", "object", "fortran", "transposed", "fewer rows", "ids", "structured")


class Cases:
    """Makes damaged copies of three sound corpora: packed, pairs, and in a sorted order."""

    def __init__(self, folder):
        text, options = write_text(folder / "text.txt"), {"vocabulary_size": 256, "sequence_length": 32, "workers": 1}
        self._sound = [
            prepare_corpus(text, folder / name, **options, **more).directory
            for name, more in (
                ("packed", {}),
                ("pairs", {"rows": "pairs"}),
                ("sorted", {"order": "frequent_first"}),
            )
        ]
        self._expected = {path: _read(path) for path in self._sound}
        self._place = folder / "damaged"

    def make(self, draw, number):
        sound, kind = (
            self._sound[number % 3],
            draw.choice(("json", "json", "json unsummed", "json unsummed", *"bbf", "a")),
        )
        damage.copy(sound, self._place)
        manifest = self._place / store.MANIFEST
        if kind.startswith("json"):
            without_sum = (lambda value: value.pop("sha256", None)) if kind == "json unsummed" else (lambda value: None)
            what = f"{kind} " + damage.damage_json(manifest, draw, without_sum)
        elif kind == "b":
            names = sorted(path.name for path in self._place.iterdir() if path.suffix != ".html")
            what = damage.damage_bytes(self._place / draw.choice(names), draw)
        elif kind == "f":
            what = damage.damage_folder(self._place, draw)
        else:
            what = _another_array(draw.choice(sorted(self._place.glob("*.npy"))), draw.choice(_ARRAYS))

        def case():
            # What is not there is text, or nothing: that is not this reader's.
            if not is_prepared(self._place):
                raise InputError(f"{self._place} is no prepared corpus.")
            found = _read(self._place)
            report.write_report(self._place)
            # Without its sum a manifest of an earlier version may say another thing about the same rows.
            if found != self._expected[sound] and kind != "json unsummed":
                raise Silent("other rows, or rows that mean something else")

        return case, what


def _read(directory):
    corpus = store.open_corpus(directory)
    found = [
        corpus.vocabulary,
        corpus.special_ids,
        corpus.normalizer.lowercase,
        corpus.order,
        corpus.validation_unigram_entropy,
    ]
    for split in store.SPLITS:
        found.append(corpus.rows(split)[:].tobytes())
        if corpus.rows_kind == "pairs":
            found.append(corpus.labels(split)[:].tobytes())
    if corpus.training_order is not None:
        found.append(np.asarray(corpus.training_order[:]).tobytes())
    try:
        store.verify(directory)
    except InputError as error:
        # Verification tells a line for each file.
        raise InputError(str(error).splitlines()[0]) from error
    return found


def _another_array(path, kind):
    array = np.load(path)
    changed = {
        "object": lambda: array.astype(object),
        "fortran": lambda: np.asfortranarray(array),
        "transposed": lambda: array.T.copy(),
        "fewer rows": lambda: array[:-1],
        "ids": lambda: np.full_like(array, np.iinfo(array.dtype).max),
        "structured": lambda: np.zeros(3, [("a", "i4")]),
    }.get(kind, lambda: array.astype(kind))()
    np.save(path, changed, allow_pickle=True)
    return f"{path.name} as {kind}"
