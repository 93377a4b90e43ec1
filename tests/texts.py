"""Texts on which tokenizers disagree when they are left to themselves, and lines of real text."""

import glob
import json
import lzma
import os

import pytest

HARD = [
    "Straße STRASSE ẞ",
    "ΣΊΣΥΦΟΣ Σίσυφος ς σ",
    "½ cup, 2² µm, 5″ × 7″, № 3, ﬁne ﬄ",
    "so\u00adft hy\u00adphen zero\u200bwidth join\u200der \ufeffmark",
    "e\u0301clair éclair E\u0301 a\u0323\u0307 \u0301alone Å Å ñ ü",
    "İstanbul ıssız DŽ ǅ ǆ",
    "nul\x00nul tab\tbell\x07 next\x85 del\x7f line\nfeed",
    "😀 👨‍👩‍👧 🇫🇷 ✈️ 🤷🏽‍♀️",
    "東京タワー ｶﾞｷﾞ Ａｂｃ １２３ 한국어 \u1112\u1161\u11ab",
    "العربية עִבְרִית हिन्दी ไทย",
    "line\u2028paragraph\u2029ogham\u1680lost\ufffdbyte",
    "no\u00a0break\u2003em\u3000wide\u202fnarrow",
    "“curly” ‘quotes’ — dash – … ´ ¨ ˝ ` ^",
    "",
]
# What a sentence of other alphabets does to a vocabulary.
LANGUAGES = [
    "Η Θεσσαλονίκη είναι μεγάλη πόλη της Ελλάδας. ΟΔΟΣ οδός Ὀδυσσεύς",
    "Санкт-Петербург — город в России. Ещё ёлка, объём и йод. ЁЖ",
    "我喜欢北京的冬天。你呢？臺灣 𠮷野家",
    "東京タワーは高いです。カメラとコーヒー、がぎぐ ﾊﾟﾝ",
    "Diyarbakır'ın ışığı güzel. İstanbul IĞDIR ığdır şeker",
    "Größe, Straße, GROẞ, Maß und Füße. Äpfel ÖL",
    "हिन्दी में लिखा हुआ वाक्य। क्षत्रिय",
    "ภาษาไทยไม่มีช่องว่าง คำ",
    "كُتِبَ هذا بالعربية. עברית עִם נִקּוּד",
    "Tiếng Việt có dấu. Ấn Độ",
    "한국어 문장입니다. 각각",
]


def real_documents(corpus, characters):
    """The first documents of a real corpus that together have as many characters, a list of str."""
    texts, size = [], 0
    for path in _real_files(corpus):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                texts.append(json.loads(line)["text"])
                size += len(texts[-1])
                if size >= characters:
                    return texts
    return texts


def _real_files(corpus):
    folder = os.environ.get("BUDGETBERT_DATA")
    if not folder:
        pytest.skip("BUDGETBERT_DATA, the folder of real data, is not set")
    return sorted(glob.glob(os.path.join(folder, "corpus", corpus, "train-*.jsonl.xz")))


def real_lines(number):
    """The first `number` lines of each of the ten files of the real corpora."""
    lines = []
    for path in _real_files("*"):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            mine = []
            while len(mine) < number:
                mine += [line for line in json.loads(next(file))["text"].split("\n") if line]
            lines += mine[:number]
    return lines
