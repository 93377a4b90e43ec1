"""Files with a tag for each word as examples: read, checked, and a part of them held out. Imports no Keras."""

import collections
import dataclasses
import zlib

import numpy as np
from sklearn.model_selection import train_test_split

from budgetbert.corpus.sources.records import Records
from budgetbert.errors import InputError
from budgetbert.finetuning.labelled.columns import Columns, choose_columns
from budgetbert.finetuning.labelled.data import HELD_OUT, Labelled, also_in_train, told_of_broken
from budgetbert.finetuning.labelled.labels import Kind
from budgetbert.finetuning.tagging.conll import TaggedSentences, is_conll, read_conll
from budgetbert.finetuning.tasks import Split, Task
from budgetbert.reporting.numbers import counted
from budgetbert.tokenization.tags import TagScheme, entities_of

TAG = Kind("tag", ("entity_f1", "entity_precision", "entity_recall", "accuracy"), "a tag for each word")
_FLAGS = ("train", "dev", "test")
_WITHOUT_ENTITIES = ("accuracy", "f1_macro")


@dataclasses.dataclass(frozen=True)
class TaggedExamples:
    """Sentences with tags.

    Args:
        words: list of lists of str.
        tags: list of lists of str, as many.
        notes: tuple of str. What differs from the file. Defaults to none.
        stem: str. The name of the part. Defaults to none.
        suffix: str. Of its metrics' names. Defaults to none.
    """

    words: list
    tags: list
    notes: tuple = ()
    stem: str = ""
    suffix: str = ""

    def __len__(self):
        return len(self.words)

    @property
    def fingerprint(self):
        """str, of words and tags."""
        return f"{zlib.crc32(repr((self.words, self.tags)).encode()):08x}"

    def take(self, indices):
        """Returns the examples of an int array of indices."""
        return dataclasses.replace(self, words=[self.words[i] for i in indices], tags=[self.tags[i] for i in indices])


def read_tagged(given):
    """Reads what `--train`, `--dev` and `--test` name: CoNLL, CoNLL-U, or records with a list of words and one of tags.

    Args:
        given: object with the attributes `train`, `dev`, `test`, `text`, `text_pair`, `label` and `max_train_examples`,
            as the flags of `recipes/finetune.py`. The columns of CoNLL's files are numbers.

    Returns:
        `Labelled`.

    Raises:
        InputError: if a file cannot be read, or nothing can be learned from its tags.
    """
    if given.text_pair:
        raise InputError("--text_pair is of tasks with two texts, and --task tag reads one: leave it out.")
    parts = {flag: _Part(flag, name, given) for flag in _FLAGS if (name := getattr(given, flag))}
    columns, examples = parts["train"].columns, {flag: part.examples for flag, part in parts.items()}
    told = [f"{flag}: {note}" for flag, part in parts.items() for note in told_of_broken(part.name, part.broken)]
    names = _names_of(examples["train"], given.train)
    for flag in ("dev", "test"):
        if flag in examples:
            _refuse_unknown(examples[flag], names, flag, getattr(given, flag))
    if "dev" not in examples:
        examples |= _hold_out(examples["train"], told, given.train)
    counts = {
        "rows": {flag: len(part) for flag, part in examples.items()},
    }
    counts["unusable_rows"] = {flag: len(part.broken) for flag, part in parts.items()}
    counts["words"] = {flag: sum(map(len, part.words)) for flag, part in examples.items()}
    keys = {flag: list(map(tuple, part.words)) for flag, part in examples.items()}
    counts["also_in_train"] = also_in_train(keys, told, "sentence")
    if given.max_train_examples:
        examples["train"] = _sampled(examples["train"], given.max_train_examples, told)
    scheme = TagScheme(names)
    metrics = TAG.metrics if scheme.has_entities else _WITHOUT_ENTITIES
    title = "Entities" if scheme.has_entities else "Tags"
    splits = {flag: Split(flag, len(part)) for flag, part in examples.items()}
    task = Task(
        *("tag", title, columns.texts, columns.label, tuple(names), metrics),
        **{"train": splits["train"], "dev": (splits["dev"],), "test": tuple(filter(None, [splits.get("test")]))},
    )
    told.append(_told_of_tags(examples["train"], scheme))
    why = "as --task says" if given.task == "tag" else "the name of the file says so"
    return Labelled(TAG, why, columns, task, examples, tuple(told), counts, lambda: _make_head(task))


def _make_head(task):
    from budgetbert.finetuning.tagging.head import TagHead

    return TagHead(task)


class _Part:
    """The sentences of one file.

    Args:
        flag: str, `"train"`, `"dev"` or `"test"`.
        name: str. Its path or name.
        given: object with the attributes `text` and `label`.
    """

    def __init__(self, flag, name, given):
        self.name, self.broken = name, []
        if is_conll(name):
            text, label = _number("text", given.text), _number("label", given.label)
            found = read_conll(name, text, label)
            usual = (2, 4) if ".conllu" in name else (1, -1)
            self.columns = Columns((f"column {text or usual[0]}",), f"column {label or usual[1]}", ())
        else:
            found = self._read_records(Records(name, flag, given.columns), given)
        self.examples = TaggedExamples(found.words, found.tags, stem=flag)

    def _read_records(self, records, given):
        where = f"--{records.flag} {self.name}"
        self.columns = choose_columns(where, records.names, given.text, None, given.label, pair=False, of_words=True)
        words, tags = [], []
        for record in records:
            problem = record.problem or self._problem_of(record)
            if problem:
                self.broken.append((record.line, problem))
                continue
            words.append(list(record.values[self.columns.texts[0]]))
            tags.append(list(record.values[self.columns.label]))
        if not words or len(self.broken) > len(words):
            first = f", the first because {self.broken[0][1]}" if self.broken else ""
            raise InputError(
                f"{where} has {counted(len(words), 'row')} of {len(words) + len(self.broken):,} with words and as many "
                f"tags{first}: mend the file, or name other columns."
            )
        return TaggedSentences(words, tags, 1)

    def _problem_of(self, record):
        """Returns why a record cannot be used, or `None`."""
        where = f"{self.name}, line {record.line:,}"
        found = [(column, record.values.get(column)) for column in (*self.columns.texts, self.columns.label)]
        for column, value in found:
            if not isinstance(value, (list, tuple)) or not value or not all(isinstance(part, str) for part in value):
                return f"{where}: it holds no list of strings in the column {column!r}"
        (_, words), (_, tags) = found
        if len(words) != len(tags):
            return f"{where}: it has {counted(len(words), 'word')} and {counted(len(tags), 'tag')}"
        return None


def _number(flag, asked):
    if asked is None:
        return None
    try:
        return int(asked)
    except ValueError as error:
        raise InputError(
            f"--{flag} {asked} is no column of a CoNLL file, whose columns have no names: give its number, from 1, or "
            "from the end, as -1."
        ) from error


def _names_of(examples, name):
    """Returns the tags (list of str): `O` first, the others in the alphabet's order, types together."""
    counts = collections.Counter(tag for tags in examples.tags for tag in tags)
    if len(counts) == 1:
        (only,) = counts
        raise InputError(f"--train {name} has one tag, {only!r:.60}, for all words: name another column with --label.")
    if len(counts) > 20 and 2 * len(counts) > counts.total():
        raise InputError(
            f"--train {name} has {len(counts):,} tags for {counted(counts.total(), 'word')}, so they are no tags: name "
            "their column with --label."
        )
    return sorted(counts, key=lambda tag: (tag != "O", tag.partition("-")[2], tag))


def _refuse_unknown(examples, names, flag, name):
    known = set(names)
    for number, tags in enumerate(examples.tags, 1):
        for tag in tags:
            if tag not in known:
                raise InputError(
                    f"--{flag} {name}, sentence {number:,}: the tag {tag!r:.60} is none of those of --train "
                    f"({', '.join(names):.200}): mend it, or add examples of it there."
                )


def _hold_out(examples, told, name):
    number = round(HELD_OUT * len(examples))
    if not number:
        raise InputError(
            f"--train has {counted(len(examples), 'sentence')}, too few to hold some out: give more, or --dev."
        )
    kept, held = train_test_split(np.arange(len(examples)), test_size=number, random_state=0)
    told.append(
        f"dev: held out of {name}, drawn at random, {counted(number, 'sentence')}, the same in each run; give --dev "
        "for others."
    )
    return {
        flag: dataclasses.replace(examples.take(np.sort(part)), stem=flag)
        for flag, part in (("train", kept), ("dev", held))
    }


def _sampled(examples, most, told):
    if len(examples) <= most:
        return examples
    chosen = np.sort(np.random.default_rng(0).permutation(len(examples))[:most])
    told.append(f"train: {most:,} of {counted(len(examples), 'sentence')}, drawn at random.")
    return examples.take(chosen)


def _told_of_tags(examples, scheme):
    """Returns a sentence on the entities, or the tags, of training sentences."""
    if not scheme.has_entities:
        return f"tags: {len(scheme.label_names)} without entities, so that each word is judged by itself."
    counts = collections.Counter(entity.type for tags in examples.tags for entity in entities_of(tags))
    types = ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
    return f"entities of train: {types}."
