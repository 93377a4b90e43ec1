"""The `tokenizer.json` of others as a vocabulary and a `Normalizer` of ours: BERT's WordPiece and Cramming's."""

import json
import warnings

from tokenizers import Tokenizer

from budgetbert.errors import one_line
from budgetbert.tokenization.hugging_face import entries_of, equal_normalizer
from budgetbert.tokenization.normalizer import Normalizer

# As Cramming's code calls them.
_CRAMMING = {"<pad>": "[PAD]", "<unk>": "[UNK]", "<cls>": "[CLS]", "<sep>": "[SEP]", "<mask>": "[MASK]"}
RUNS_OF_MARKS = "its own tokenizer keeps a run of punctuation, as '...', in one piece, which is split here"


def read_tokenizer(path):
    """Reads the `tokenizer.json` of a WordPiece.

    Args:
        path: str or `Path`.

    Returns:
        Tuple of the vocabulary (list of str, each at its own id, with the special tokens under the names that they have
        here), the `Normalizer`, and what is read differently (str), or `None`.

    Raises:
        ValueError: if the file is none, or its tokenizer has no equal here.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises nothing more special.
        raise ValueError(f"It is no tokenizer.json ({one_line(error).rstrip('.')})") from error
    described = json.loads(tokenizer.to_str())
    vocabulary = entries_of(tokenizer, described, _CRAMMING)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            normalizer = equal_normalizer(tokenizer, described)
        return vocabulary, normalizer, " ".join(str(one.message).rstrip(".") for one in told) or None
    except ValueError:
        normalize = tokenizer.normalizer.normalize_str if tokenizer.normalizer else str
        # What is not ASCII goes, so it is Cramming's normaliser, before a pre-tokenizer that is not BERT's.
        if normalize("\u6771a") != "a" or normalize("``") != '"':
            raise
    normalizer = Normalizer(normalize("A") == "a", normalize("\u00e9") == "e", "cramming")
    return vocabulary, normalizer, RUNS_OF_MARKS
