"""What ends a program with one sentence."""

import errno
import re


class InputError(ValueError):
    """What the user gave cannot work. The message is one sentence that names the thing and the mend."""


class UnreadableRows(InputError):
    """Rows of a prepared corpus cannot be read, or no longer.

    Args:
        what: str. What is wrong with which file, without a full stop.

    Attributes:
        what: as given, for a sentence with another mend.
    """

    def __init__(self, what):
        super().__init__(f"{what}: delete the directory and prepare the corpus again.")
        self.what = what


class TrainingError(RuntimeError):
    """Training cannot go on. The message is one sentence that says why and what to try."""


def one_line(error):
    """Returns the message of an exception on one line of at most 300 characters, for a sentence that quotes it."""
    # Of a damaged file, a message may quote bytes that are no characters.
    printable = "".join(character if character.isprintable() else " " for character in str(error))
    text = " ".join(printable.split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


# Libraries lose the number of the error; NumPy says "117780 requested and 4032 written".
_NO_ROOM = re.compile(r"No space left|\d+ requested and \d+ written")


# What the backends raise where memory runs out: by the names of the classes, which need no import, or by the message.
_OUT_OF_MEMORY_CLASSES = {"ResourceExhaustedError", "OutOfMemoryError", "MemoryError"}
_OUT_OF_MEMORY_WORDS = ("resource_exhausted", "out of memory", "can't allocate memory", "alloc_failed")


def is_out_of_memory(error):
    """Returns whether an exception of TensorFlow, JAX or torch says that memory ran out."""
    if _OUT_OF_MEMORY_CLASSES & {kind.__name__ for kind in type(error).__mro__}:
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY_WORDS)


def is_disk_full(error):
    """Returns whether an exception, or one that it came from, says that the disk or a quota on it is full."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _NO_ROOM.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
