"""The `demo` corpus: novels in the public domain, the same on every machine; `BOOKS.md` lists them.

`text.jsonl.xz` has a chapter on each line, with its author, title and year. `held_out.jsonl.xz` has passages of six
other books by six of the authors, for judging who knows an author's style. `tools/pack_novels.py` made both.
"""

import json
import lzma
from pathlib import Path

FOLDER = Path(__file__).parent
TEXT, HELD_OUT = "text.jsonl.xz", "held_out.jsonl.xz"

# A row of 128 tokens holds about 100 words of these books.
_PASSAGE_WORDS = 90


def read(name):
    """Yields the rows (dict of `author`, `title`, `year`, `text`) of one of the two files."""
    with lzma.open(FOLDER / name, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def passages(chapters):
    """Cuts chapters into passages of whole paragraphs.

    A passage that names the author, as a title page does, is left out.

    Args:
        chapters: iterable of dict, as `read` yields them.

    Yields:
        dict like a chapter's, whose text has the fewest paragraphs in a row with 90 words, joined by spaces.
    """
    for chapter in chapters:
        group, words = [], 0
        for paragraph in chapter["text"].split("\n"):
            group.append(paragraph)
            words += len(paragraph.split())
            if words >= _PASSAGE_WORDS:
                text = " ".join(group)
                if chapter["author"].split()[-1] not in text:
                    yield {**chapter, "text": text}
                group, words = [], 0
