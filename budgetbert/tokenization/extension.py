"""New entries for an old vocabulary: those of a text's words and pieces that save the most pieces.

The old ids stay, so that a model which knows them goes on from what it has learnt.
"""

import collections
import heapq

from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS, train_vocabulary

# So many of the words that are cut into pieces are looked at, those that stand for the most pieces; 100,000 words are
# 99 % of the pieces of 50 MB of English.
_WORDS = 100_000
# Words, and about as many pieces of a vocabulary trained on them, that are tried for each entry that is wanted.
_TRIED = 4
# A character that the vocabulary lacks, and that makes [UNK] of its word, counts as so many pieces.
_MISSING_CHARACTER = 2


def split_word(word, entries, continued=False):
    """Splits a word by the longest entries, from its start, as WordPiece does.

    Args:
        word: str, or what stands behind "##" of an entry.
        entries: set or dict of str.
        continued: bool. Whether the word is the rest of one, so that its first piece has "##" too. Defaults to `False`.

    Returns:
        list of str, with `None` for each character that no entry begins with.

    Example:

    >>> split_word("cats!", {"cat", "ca", "##s"})
    ['cat', '##s', None]
    """
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start or continued else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if prefix + word[start:end] in entries), None)
        pieces.append(None if end is None else prefix + word[start:end])
        start = start + 1 if end is None else end
    return pieces


def old_pieces(entry, entries):
    """Returns the pieces (list of str) of a new entry by an old vocabulary (set or dict of str), or [UNK]."""
    pieces = split_word(entry.removeprefix("##"), entries, continued=entry.startswith("##"))
    return ["[UNK]"] if None in pieces else pieces


def most_useful(vocabulary, counts, number):
    """Chooses new entries one by one, each the one that saves the most pieces of a text beside those before it.

    Tried are the words that are cut into the most pieces, and the pieces of a vocabulary that is trained on them. A
    choice changes what others save; it is reckoned again for those that are next.

    Args:
        vocabulary: list of str.
        counts: `collections.Counter` of the text's words, see `budgetbert.tokenization.encoder.PieceCounter`.
        number: int. At most so many are chosen: none that saves nothing.

    Returns:
        list of str, the most useful first.
    """
    entries = set(vocabulary)
    cut = {word: count for word, count in counts.items() if word not in entries}
    spent = {word: count * _cost(split_word(word, entries)) for word, count in cut.items()}
    words = sorted(cut, key=lambda word: (-spent[word], word))[:_WORDS]
    if not words:
        return []
    places = _places(words, _tried(collections.Counter({word: cut[word] for word in words}), words, number) - entries)

    def saved(entry):
        before = sum(cut[word] * _cost(split_word(word, entries)) for word in places[entry])
        entries.add(entry)
        after = sum(cut[word] * _cost(split_word(word, entries)) for word in places[entry])
        entries.remove(entry)
        return before - after

    waiting = [(-saved(entry), entry) for entry in places]
    heapq.heapify(waiting)
    chosen = []
    while waiting and len(chosen) < number:
        entry = heapq.heappop(waiting)[1]
        now = -saved(entry)
        if waiting and (now, entry) > waiting[0]:
            heapq.heappush(waiting, (now, entry))
        elif now < 0:
            chosen.append(entry)
            entries.add(entry)
    return chosen


def _cost(pieces):
    return len(pieces) + (_MISSING_CHARACTER - 1) * pieces.count(None)


def _tried(counts, words, number):
    """Returns the entries (set of str) to try: whole words, and the pieces of a vocabulary of these words."""
    size = -(-max(_TRIED * number, 1024) // 64) * 64
    pieces = [entry for entry in train_vocabulary(counts, size) if not entry.startswith("[unused")]
    return {*words[: _TRIED * number], *pieces}.difference(SPECIAL_TOKENS)


def _places(words, tried):
    """Returns the words in which each of the entries may stand, as a dict of lists."""
    places = {}
    longest = max((len(entry.removeprefix("##")) for entry in tried), default=0)
    for word in words:
        found = {
            ("##" if start else "") + word[start:end]
            for start in range(len(word))
            for end in range(start + 1, min(len(word), start + longest) + 1)
        }
        for entry in sorted(found & tried):
            places.setdefault(entry, []).append(word)
    return places
