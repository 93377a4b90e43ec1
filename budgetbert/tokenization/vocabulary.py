"""WordPiece vocabularies: trained, read, and made tokenizers of."""

import collections
from pathlib import Path

import numpy as np
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from budgetbert.errors import InputError
from budgetbert.tokenization import words

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# The trainer sees at most this many pieces, about 250 MB of English; counts of larger corpora are scaled down. It
# takes 5 million of them a second, and words that are too rare to be among them would not get an entry anyway.
TRAINING_PIECES = 50_000_000
# A rare character costs one or two entries, so an alphabet begins with the most frequent 1,000, or a quarter as many as
# there are entries. That is enough for European languages. It grows while the pieces of text that lack a character are
# together more frequent than so many average entries, and as long as it takes no more than half of the entries.
_LEAST_ALPHABET = 1000
UNKNOWN_IN_ENTRIES = 6


def word_piece(vocabulary, longest_word=words.LONGEST_PIECE, **options):
    """Returns the `tokenizers.models.WordPiece` of a vocabulary.

    Args:
        vocabulary: list of str.
        longest_word: int. Words of more characters are unknown. Defaults to more than any piece of `words` has.
        **options: of `tokenizers.models.WordPiece`.
    """
    ids = {token: index for index, token in enumerate(vocabulary)}
    return models.WordPiece(ids, **({"unk_token": "[UNK]", "max_input_chars_per_word": longest_word} | options))


def plain_tokenizer(vocabulary, longest_word=words.LONGEST_PIECE):
    """Returns a `tokenizers.Tokenizer` for text that has passed the `Normalizer`.

    It neither lower-cases nor strips accents, splits at white space, punctuation and Chinese characters as BERT does,
    and knows no special tokens: "[SEP]" in a text is three pieces of text.

    Args:
        vocabulary: list of str.
        longest_word: int, as for `word_piece`.
    """
    tokenizer = Tokenizer(word_piece(vocabulary, longest_word))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def standalone_tokenizer(vocabulary, normalizer):
    """Returns a `tokenizers.Tokenizer` for raw text, to be saved as `tokenizer.json` for other programs.

    It adds [CLS] and [SEP], and recognises special tokens as `BertBudgetTokenizer` does. Its normaliser is `normalizer`
    rebuilt from the library's own parts: none of 20,000 lines of Wikipedia and novels comes out differently, but 73
    letters and digits do that are newer than the library's Unicode. Of the kind `checkpoint` it is the checkpoint's
    tokenizer itself.

    Args:
        vocabulary: list of str, with all special tokens.
        normalizer: `budgetbert.tokenization.normalizer.Normalizer`.
    """
    tokenizer = plain_tokenizer(vocabulary, normalizer.longest_word)
    steps = normalizer.steps()
    tokenizer.normalizer = normalizers.Sequence(steps) if len(steps) > 1 else steps[0]
    if normalizer.kind != "checkpoint":
        tokenizer.pre_tokenizer = words.pre_tokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    written = written_tokens(normalizer.kind)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in written])
    ids = special_ids(vocabulary)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return tokenizer


def written_tokens(kind):
    """Returns the special tokens (list of str) that stand for themselves where a text for a model has their names.

    To a checkpoint all do. Without one to follow, [PAD] is text: no two programs agree whether it is padding.

    Args:
        kind: str, the kind of a `Normalizer`.
    """
    return [token for token in SPECIAL_TOKENS if token != "[PAD]" or kind == "checkpoint"]


def special_ids(vocabulary):
    """Returns the ids of the special tokens as a dict such as {"[PAD]": 0, ...}, by their names."""
    return {token: vocabulary.index(token) for token in SPECIAL_TOKENS}


def read_vocabulary(path):
    """Reads a vocabulary file: UTF-8, one entry per line, its id the line's number from 0.

    Args:
        path: str or `Path`.

    Returns:
        list of str.

    Raises:
        InputError: if the file cannot be read, an entry is empty or stands twice, a special token is missing, or
            [PAD] is not the first entry.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: the vocabulary cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the vocabulary is not UTF-8 (byte {error.start + 1}).") from error
    vocabulary = text.removesuffix("\n").split("\n")
    vocabulary = [entry.removesuffix("\r") for entry in vocabulary]
    check_vocabulary(path, vocabulary)
    if vocabulary[0] != "[PAD]":
        raise InputError(f"{path}: [PAD] has the id {vocabulary.index('[PAD]')}: it has to be 0, the first line.")
    return vocabulary


def check_vocabulary(path, vocabulary):
    """Raises an `InputError` as `read_vocabulary`, but wherever [PAD] stands: a model may have it at any id.

    Args:
        path: str or `Path`. Where the vocabulary is from, for the sentence.
        vocabulary: list of str.
    """
    lines = {}
    for number, entry in enumerate(vocabulary, start=1):
        if not entry:
            raise InputError(f"{path}, line {number} is empty: a vocabulary has one entry per line.")
        if entry in lines:
            raise InputError(f"{path}, line {number}: {entry!r} stands in line {lines[entry]} already: remove one.")
        lines[entry] = number
    missing = [token for token in SPECIAL_TOKENS if token not in lines]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}: a BERT vocabulary has {', '.join(SPECIAL_TOKENS)}.")
    if not any(entry not in SPECIAL_TOKENS and not entry.startswith("[unused") for entry in vocabulary):
        raise InputError(f"{path} holds no entries beside special and [unused] ones.")


def train_vocabulary(counts, size, alphabet=None):
    """Trains a WordPiece vocabulary; the same counts give the same vocabulary.

    Args:
        counts: `collections.Counter` of pieces (see `encoding.PieceCounter`).
        size: int, a multiple of 64.
        alphabet: int, the number of characters, the most frequent ones. Defaults to `None`: as the text needs them.

    Returns:
        list of str: the five special tokens, single characters, and pieces in the order in which they were merged. If
        the text has too few for `size`, all of its characters are among them, `[unused0]`, `[unused1]` ... fill it up;
        and if they would be more than half of it, the size shrinks to a multiple of 64 that just holds what there is.
    """
    total = counts.total()
    if total > TRAINING_PIECES:
        counts = {piece: count * TRAINING_PIECES // total for piece, count in counts.items()}
    characters, entries, unknown = _characters(counts)
    wanted = max(min(_LEAST_ALPHABET, size // 4), int(np.sum(unknown > UNKNOWN_IN_ENTRIES / size)))
    number = min(wanted, int(np.searchsorted(entries, size // 2, side="right")))
    if alphabet:
        number = min(alphabet, int(np.searchsorted(entries, size - len(SPECIAL_TOKENS), side="right")))
    vocabulary = _merged(counts, size, characters[:number])
    room = size - len(vocabulary)
    # The text has no more to merge, so the room is for its rarer characters.
    if room and number < len(characters) and not alphabet:
        number = int(np.searchsorted(entries, entries[number - 1] + room, side="right"))
        vocabulary = _merged(counts, size, characters[:number])
    if len(vocabulary) < size / 2:
        size = -(-len(vocabulary) // 64) * 64
    return vocabulary + [f"[unused{index}]" for index in range(size - len(vocabulary))]


def _characters(counts):
    """What each size of an alphabet takes and leaves.

    Returns:
        Tuple of the characters (list of str), the most frequent first and of equally frequent ones the first; and of
        the alphabet that each of them completes, how many entries it takes (int array), and the share of the pieces
        that would be unknown without it (float array), those in which it or a rarer character occurs.
    """
    frequencies = collections.Counter()
    for piece, count in counts.items():
        for character in piece:
            frequencies[character] += count
    characters = sorted(frequencies, key=lambda character: (-frequencies[character], character))
    rank = {character: place for place, character in enumerate(characters)}
    entries, rarest = np.zeros(len(characters), np.int64), np.zeros(len(characters))
    entries[[rank[character] for character in {piece[0] for piece in counts}]] += 1
    entries[[rank[character] for character in {character for piece in counts for character in piece[1:]}]] += 1
    for piece, count in counts.items():
        rarest[max(map(rank.__getitem__, piece))] += count
    return characters, np.cumsum(entries), np.cumsum(rarest[::-1])[::-1] / max(1, rarest.sum())


def _merged(counts, size, alphabet):
    """The special tokens, the characters of an alphabet, and what the trainer merges from them; all lists of str."""
    alphabet = set(alphabet)
    # Hugging Face's trainer numbers the characters in the order of a hash map that differs in each process, and breaks
    # ties by these numbers: of 32,768 entries some change from run to run. Special tokens it numbers in our order.
    continued = sorted({f"##{character}" for piece in counts for character in piece[1:] if character in alphabet})
    started = sorted({piece[0] for piece in counts if piece[0] in alphabet})
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=2,
        limit_alphabet=2 * max(_LEAST_ALPHABET, len(alphabet)),
        special_tokens=[*SPECIAL_TOKENS, *started, *continued],
        continuing_subword_prefix="##",
        show_progress=False,
    )
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(_repeated(counts, alphabet), trainer)
    entries = tokenizer.get_vocab()
    return sorted(entries, key=entries.get)


def _repeated(counts, alphabet):
    """Yields the pieces, each as often as it was counted, in strings of about 1,000 pieces."""
    line = []
    for piece, count in counts.items():
        if alphabet.issuperset(piece):
            while count:
                taken = min(count, 1000)
                line += [piece] * taken
                count -= taken
                if len(line) >= 1000:
                    yield " ".join(line)
                    line = []
    yield " ".join(line)
