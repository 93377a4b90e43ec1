"""Texts and labels as they are given to a token classifier, checked, and as numbers of tags."""

import numpy as np

from budgetbert.tokenization.tags import Entity


def checked_names(label_names):
    """Returns the tags as a list.

    Raises:
        ValueError: if they are not two strings or more, each another.
    """
    is_list = isinstance(label_names, (list, tuple))
    if not is_list or not all(isinstance(name, str) and name for name in label_names):
        raise ValueError(f"`label_names` must be a list of strings, the tags. Received: {label_names!r:.100}")
    names = list(label_names)
    if len(set(names)) < len(names) or len(names) < 2:
        raise ValueError(f"`label_names` must be two tags or more, each another. Received: {names!r:.100}")
    return names


def checked_texts(x):
    """Returns texts as a list of str, or of lists of str.

    Raises:
        ValueError: if there are none, or what is given is neither strings nor lists of words throughout.
    """
    if isinstance(x, (str, bytes)) or not hasattr(x, "__iter__"):
        raise ValueError(f"Texts are a list of strings, or of lists of words. Received: {type(x).__name__}")
    texts = [text if isinstance(text, str) else list(text) for text in x]
    if not texts:
        raise ValueError("There are no examples: texts are empty.")
    of_strings = isinstance(texts[0], str)
    for place, text in enumerate(texts):
        if isinstance(text, str) is not of_strings:
            raise ValueError(f"Text {place} is {'words' if of_strings else 'a string'}, unlike text 0: give one kind.")
        for word in [] if of_strings else text:
            if not isinstance(word, str):
                raise ValueError(f"Text {place} has the word {word!r:.50}: give strings.")
    return texts


def labels_of(texts, labels, rows, scheme):
    """Returns the numbers of the tags (int array) of the judged words.

    Args:
        texts: list of str, or of lists of str.
        labels: as `BertBudgetTokenClassifier.encode` takes them.
        rows: `TaggingRows` of the texts.
        scheme: `TagScheme`.

    Raises:
        ValueError: as `BertBudgetTokenClassifier.encode`.
    """
    if labels is None or len(labels) != len(texts):
        given = "none" if labels is None else len(labels)
        raise ValueError(f"There are {len(texts)} texts and {given} labels: give a list of labels for each text.")
    bounds = np.searchsorted(rows.texts, np.arange(len(texts) + 1))
    numbers = {name: number for number, name in enumerate(scheme.label_names)}
    found = np.zeros(len(rows.texts), np.int32)
    for place, (text, given) in enumerate(zip(texts, labels, strict=True)):
        mine = slice(bounds[place], bounds[place + 1])
        if isinstance(text, str):
            tags = _tags_of_spans(place, given, rows.starts[mine], rows.ends[mine], scheme)
        elif len(given) != len(text):
            raise ValueError(f"Text {place} has {len(text)} words and {len(given)} tags: give a tag for each word.")
        else:
            tags = [given[word] for word in rows.words[mine]]
        found[mine] = [_number(place, tag, numbers) for tag in tags]
    return found


def _number(place, tag, numbers):
    if isinstance(tag, (int, np.integer)) and 0 <= tag < len(numbers):
        return tag
    if tag not in numbers:
        raise ValueError(f"Text {place} has the tag {tag!r}, which is none of label_names: {', '.join(numbers)}.")
    return numbers[tag]


def _tags_of_spans(place, spans, starts, ends, scheme):
    """Returns the tags of the words of a text, of which those that overlap a span are an entity."""
    if not scheme.has_entities:
        raise ValueError("Labels of strings are entities, and these tags have no B- and I-: give lists of words.")
    entities, last = [], 0
    for span in sorted(_span(place, span) for span in spans):
        first, behind = np.searchsorted(ends, span[0], side="right"), np.searchsorted(starts, span[1])
        if first >= behind or first < last:
            why = "no word of the text" if first >= behind else "a word that another entity has"
            raise ValueError(f"Text {place}: the entity {span} is at {why}.")
        entities.append(Entity(int(first), int(behind), span[2]))
        last = behind
    return scheme.tags_of(entities, len(starts))


def _span(place, span):
    try:
        start, end, label = (span["start"], span["end"], span["label"]) if isinstance(span, dict) else span
        return int(start), int(end), str(label)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"Text {place}: an entity is (start, end, label). Received: {span!r:.100}") from error
