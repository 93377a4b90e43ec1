"""Rows as people read them."""

import itertools
import re

# Of rows with more tokens than the first number the second is shown; the rest unfolds.
_LONG_ROW, _SHOWN_TOKENS = 256, 200
_NO_SPACE_BEFORE = re.compile(r" (?=[.,;:!?%)\]}…’”»])")
_NO_SPACE_BEHIND = re.compile(r"(?<=[(\[{“‘«]) ")
_CONTRACTION = re.compile(r"(?<=\w) ?(['’]) (?=(?:s|t|d|m|ll|re|ve)\b)")


def decoded_row(corpus, ids):
    """Returns a row's ids (list of int) as people read them.

    Returns:
        dict of `head` and `rest`, each a list of lines, which are lists of dicts: `text`, and `kind`, "text",
        "special" or "unknown". A line ends behind each [SEP], and [PAD]s are counted. `rest` is what a long row has
        beyond 200 tokens, and `rest_tokens` its number.
    """
    text = len(ids)
    while text and ids[text - 1] == corpus.special_ids["[PAD]"]:
        text -= 1
    cut = _SHOWN_TOKENS if text > _LONG_ROW else len(ids)
    return {
        "head": _lines(corpus, ids[:cut]),
        "rest": _lines(corpus, ids[cut:]),
        "rest_tokens": f"{len(ids) - cut:,}",
    }


def _lines(corpus, ids):
    special = {index: token for token, index in corpus.special_ids.items()}
    lines = [[]]
    for token, group in itertools.groupby(ids, special.get):
        group = list(group)
        if token is None:
            lines[-1].append({"kind": "text", "text": _spaced([corpus.vocabulary[index] for index in group])})
        elif token == "[PAD]":
            line = lines[-1] or lines[-2 if len(lines) > 1 else -1]
            line.append({"kind": "special", "text": f"{token} × {len(group):,}"})
        else:
            for _ in group:
                lines[-1].append({"kind": "unknown" if token == "[UNK]" else "special", "text": token})
                if token == "[SEP]":
                    lines.append([])
    return [line for line in lines if line]


def _spaced(words):
    """Joins word pieces; the spaces that a tokenizer puts around marks go where they can only be its."""
    text = words[0] + "".join(word[2:] if word.startswith("##") else f" {word}" for word in words[1:])
    return _CONTRACTION.sub(r"\1", _NO_SPACE_BEHIND.sub("", _NO_SPACE_BEFORE.sub("", text)))
