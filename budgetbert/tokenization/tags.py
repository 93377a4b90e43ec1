"""The tags of words (BIO, IOBES, parts of speech) and the entities that they say, as CoNLL's evaluation reads them."""

import typing

import numpy as np

# BILOU calls a single word a unit and an entity's end its last word.
_PREFIXES = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S"}
OUTSIDE = "O"


class Entity(typing.NamedTuple):
    """An entity: the numbers (int) of its first word and of the one behind its last, and its type (str)."""

    start: int
    end: int
    type: str


def entities_of(tags):
    """Returns the entities that tags say, also where a prefix is wrong, as CoNLL's evaluation repairs them.

    An entity begins at each B and S, behind each E, S and O, and where the type changes; so an I that follows none
    begins one. Tags without prefixes, as parts of speech, are an entity for each word but O.

    Args:
        tags: list of str, of the words of one sentence.

    Returns:
        List of `Entity`.

    Source: the rules of conlleval (Tjong Kim Sang & Buchholz 2000); S as seqeval adds it.

    Example:

    >>> entities_of(["I-PER", "I-PER", "O", "B-LOC", "I-ORG"])
    [Entity(start=0, end=2, type='PER'), Entity(start=3, end=4, type='LOC'), Entity(start=4, end=5, type='ORG')]
    """
    found, before = [], OUTSIDE
    for place, tag in enumerate(tags):
        if begins(before, tag):
            found.append(Entity(place, place + 1, split_tag(tag)[1]))
        elif tag != OUTSIDE:
            found[-1] = found[-1]._replace(end=place + 1)
        before = tag
    return found


def begins(before, tag):
    """Returns whether an entity begins at a tag (str) behind the tag `before` (str)."""
    if tag == OUTSIDE:
        return False
    (prefix_before, type_before), (prefix, kind) = split_tag(before), split_tag(tag)
    return prefix in ("", "B", "S") or prefix_before not in ("B", "I") or type_before != kind


def split_tag(tag):
    """Returns the prefix of a tag, one of B, I, E, S or none, and its type; both str."""
    prefix, dash, kind = tag.partition("-")
    if prefix in _PREFIXES and (dash or tag == prefix):
        return _PREFIXES[prefix], kind
    return "", tag


class TagScheme:
    """What the tags of a model mean.

    Args:
        label_names: list of str: `O` and tags as `B-PER`, or tags without a prefix, as parts of speech.

    Attributes:
        has_entities: bool. Whether the tags say where entities are.
        outside: int, the number of the tag of a word that the tokenizer drops: that of O, or the first.
        starts: bool array `[labels + 1, labels]`. Whether an entity begins at the second tag behind the first; the
            last row is the beginning of a text.
        types: list of str, the type of each tag, empty for O.
    """

    def __init__(self, label_names):
        self.label_names = list(label_names)
        self._numbers = {name: number for number, name in enumerate(self.label_names)}
        prefixes = {split_tag(name)[0] for name in self.label_names if name != OUTSIDE}
        self.has_entities = "" not in prefixes
        self._closed = bool(prefixes & {"E", "S"})
        self._bilou = any(name[:2] in ("L-", "U-") for name in self.label_names)
        self.outside = self._numbers.get(OUTSIDE, 0)
        self.types = ["" if name == OUTSIDE else split_tag(name)[1] for name in self.label_names]
        behind = [*self.label_names, OUTSIDE]
        self.starts = np.array([[begins(before, name) for name in self.label_names] for before in behind])

    def repaired(self, tags):
        """Returns tags (list of str) that say the same entities with the right prefixes, as far as there are such."""
        if not self.has_entities:
            return list(tags)
        right = self.tags_of(entities_of(tags), len(tags))
        return [good if good in self._numbers else tag for good, tag in zip(right, tags, strict=True)]

    def tags_of(self, entities, count):
        """Returns the tags (list of str) of `count` words (int), among which are entities (list of `Entity`)."""
        tags = [OUTSIDE] * count
        end, single = ("L", "U") if self._bilou else ("E", "S")
        for start, stop, kind in entities:
            prefixes = ["B", *"I" * (stop - start - 1)]
            if self._closed:
                prefixes[-1] = end if stop - start > 1 else single
            tags[start:stop] = [f"{prefix}-{kind}" if kind else prefix for prefix in prefixes]
        return tags
