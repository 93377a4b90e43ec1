"""Packs the demo's text: public-domain novels, and passages of other novels by six of their authors.

    python tools/pack_novels.py $BUDGETBERT_DATA/corpus/novels

reads `*.jsonl.xz`, one chapter a line, whose `id` is `Author_Word_Year-NNN` (the books of
github.com/computationalstylistics/100_english_novels), and writes what `budgetbert/corpus/sources/novels` holds.
"""

import json
import lzma
import sys
from pathlib import Path

from budgetbert.corpus.sources.novels import FOLDER, HELD_OUT, TEXT, passages

# The books by their names in the source: title, and year of the first edition as a book.
BOOKS = {
    "Burnett_Lord_1886": "Little Lord Fauntleroy",
    "Burnett_Princess_1905": "A Little Princess",
    "Cbronte_Jane_1847": "Jane Eyre",
    "Chesterton_Innocence_1911": "The Innocence of Father Brown",
    "Chesterton_Thursday_1908": "The Man Who Was Thursday",
    "Dickens_Expectations_1861": "Great Expectations",
    "Dickens_Oliver_1839": "Oliver Twist",
    "Doyle_Hound_1902": "The Hound of the Baskervilles",
    "Doyle_Lost_1912": "The Lost World",
    "Doyle_Micah_1889": "Micah Clarke",
    "Haggard_Mines_1885": "King Solomon's Mines",
    "Haggard_Sheallan_1921": "She and Allan",
    "Kipling_Captains_1896": "Captains Courageous",
    "Kipling_Light_1891": "The Light That Failed",
    "Morris_Roots_1890": "The Roots of the Mountains",
    "Morris_Wood_1894": "The Wood Beyond the World",
    "Stevenson_Arrow_1888": "The Black Arrow",
    "Stevenson_Treasure_1883": "Treasure Island",
}
HELD_OUT_BOOKS = {
    "Burnett_Garden_1911": "The Secret Garden",
    "Cbronte_Villette_1853": "Villette",
    "Chesterton_Napoleon_1904": "The Napoleon of Notting Hill",
    "Dickens_Bleak_1853": "Bleak House",
    "Haggard_She_1887": "She",
    "Morris_Water_1897": "The Water of the Wondrous Isles",
}
AUTHORS = {
    "Burnett": "Frances Hodgson Burnett",
    "Cbronte": "Charlotte Brontë",
    "Chesterton": "G. K. Chesterton",
    "Dickens": "Charles Dickens",
    "Doyle": "Arthur Conan Doyle",
    "Haggard": "H. Rider Haggard",
    "Kipling": "Rudyard Kipling",
    "Morris": "William Morris",
    "Stevenson": "Robert Louis Stevenson",
}
PASSAGES_PER_BOOK = 60


def read(folder, books):
    """Returns the chapters of some books (list of dict), in the order of `books` and of their chapters."""
    chapters = {name: [] for name in books}
    for path in sorted(Path(folder).glob("*.jsonl.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            for chapter in map(json.loads, lines):
                name, number = chapter["id"].rsplit("-", 1)
                if name in books:
                    chapters[name].append((int(number), chapter["text"]))
    found = []
    for name, title in books.items():
        author, _, year = name.split("_")
        where = {"author": AUTHORS[author], "title": title, "year": int(year)}
        found += [{**where, "text": text} for _, text in sorted(chapters[name])]
    return found


def spread(rows, number):
    """Returns that many of some rows, at equal distances."""
    return [rows[index * len(rows) // number] for index in range(number)]


def write(path, rows):
    """Writes rows (list of dict) as `.jsonl.xz`."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def main():
    (folder,) = sys.argv[1:]
    write(FOLDER / TEXT, read(folder, BOOKS))
    held_out = []
    for name, title in HELD_OUT_BOOKS.items():
        held_out += spread(list(passages(read(folder, {name: title}))), PASSAGES_PER_BOOK)
    write(FOLDER / HELD_OUT, held_out)


if __name__ == "__main__":
    main()
