"""Classes of characters, each as one set for the regular expressions of Python, RE2 and Oniguruma.

Python, TensorFlow and Hugging Face `tokenizers` each have the tables of another version of Unicode. So no expression
that decides about text says `\\p{...}`: each states its code points, and they cannot disagree.

A set is what stands between the brackets of a Python expression; `re2` writes it for the two others.
"""

import itertools
import re
import unicodedata

# Unicode's Default_Ignorable_Code_Point (soft hyphen, zero-width joiners, variation selectors ...): they are invisible
# in print and would split words or become [UNK].
IGNORABLE = (
    "\u00ad\u034f\u061c\u115f-\u1160\u17b4-\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Signs in front of Arabic and Syriac numbers, anchors of annotations, joiners of hieroglyphs: characters that only say
# how others are drawn, which `tokenizers` drops and KerasHub takes for spaces.
FORMAT = "\u0600-\u0605\u06dd\u070f\u0890-\u0891\u08e2\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
# Letters of Unicode 15 to 17 that are others in NFKC, or in lower case, to TensorFlow or `tokenizers` alone: Cyrillic
# modifiers, outlined letters, capitals of Garay and Beria Erfe, and ten more.
NEWER = (
    "\u1c89\ua7cb-\ua7cc\ua7ce\ua7d2\ua7d4\ua7da\ua7dc\U000105c9\U000105e4\U00010d50-\U00010d65"
    "\U00016ea0-\U00016eb8\U0001ccd6-\U0001ccf9\U0001e030-\U0001e06d"
)
# With these `BertBudgetTokenizer` marks special tokens while a text is normalised.
RESERVED = "\U0010fff0-\U0010fff4"
# Private-use code points, and the four that end planes 15 and 16: what a bullet or an icon of a PDF's own font is
# without that font.
PRIVATE_USE = "\ue000-\uf8ff\U000f0000-\U0010ffef\U0010fff5-\U0010ffff"
# What is dropped of every text, and `RESERVED` of one in which no special tokens are marked.
DROPPED = IGNORABLE + FORMAT + NEWER + PRIVATE_USE
# Control characters, and four more on which the tokenizers disagree whether they are spaces: the Ogham space, line and
# paragraph separator, and what stands for undecodable bytes.
CONTROL = "\x00-\x1f\x7f-\x9f\u1680\u2028\u2029\ufffd"
# All white space, with the control characters.
SPACES = "\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufffd"
# Chinese characters as BERT has them.
HAN = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002ceaf"
    "\U0002f800-\U0002fa1f"
)
# Scripts that are written without spaces, beside Chinese: Thai, Lao, Tibetan, Burmese, Khmer, Tai Le to New Tai Lue,
# Tai Tham, Balinese, kana, Yi, Javanese, Tai Viet, and kana of half width.
UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\u3040-\u30ff\u31f0-\u31ff"
    "\ua000-\ua4cf\ua980-\ua9ff\uaa60-\uaadf\uff66-\uff9f"
)


def _of_category(prefixes, more=""):
    """Returns the set of the characters beyond ASCII whose Unicode category starts with one of `prefixes`."""
    numbers = [number for number in range(128, 0x20000) if unicodedata.category(chr(number)).startswith(prefixes)]
    groups = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    spans = ([number for _, number in group] for _, group in groups)
    return "".join(f"{chr(span[0])}-{chr(span[-1])}" for span in spans) + more


# Combining marks, and the voicing marks of half width that become such.
MARKS = _of_category(("M",), "\uff9e-\uff9f")
# What `strip_accents` drops.
ACCENTS = _of_category(("Mn",))
# Punctuation beyond ASCII, with what one library takes for punctuation: some of Unicode 15 and 16, and two signs that
# were punctuation until Unicode 11.
PUNCTUATION = _of_category(
    ("P",),
    "\u166d\u1b4e-\u1b4f\u1b7f\u2e60-\u2e63\U00010d6e\U00010ed0\U000111c9\U000113d4-\U000113d5\U000113d7-\U000113d8"
    "\U00011b00-\U00011b09\U00011be1\U00011f43-\U00011f4f\U00016d6d-\U00016d6f\U0001e5ff",
)


def re2(characters):
    """Returns a set as an expression that RE2 and Oniguruma read, with its brackets."""
    return "[" + re.sub(r"[^-]", lambda match: f"\\x{{{ord(match[0]):x}}}", characters) + "]"
