import json
import pathlib
import re
import struct

import pytest

from tests.programs import call

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]

TOOL = "tools/compare_languages.py"
PAGE = "<html><h1>\u898b\u51fa\u3057</h1><p class='paragraph'>One <b>bold</b>\n word.</p><p>A button.</p></html>"


def catalog(messages):
    """A catalog of GNU gettext: a header, then the length and place of each original and of each translation."""
    pairs = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **messages}.items())
    place, tables, texts = 28 + 16 * len(pairs), [], b""
    for column in (0, 1):
        for pair in pairs:
            data = pair[column].encode()
            tables.append(struct.pack("<II", len(data), place + len(texts)))
            texts += data + b"\0"
    numbers = (0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 28 + 16 * len(pairs))
    return struct.pack("<7I", *numbers) + b"".join(tables) + texts


@pytest.fixture
def compare(monkeypatch, tmp_path):
    """The finished tool, where there is no text but in folders of a test."""
    monkeypatch.setenv("BUDGETBERT_DATA", str(tmp_path / "data"))

    def compared(language):
        folders = ("--help_pages", tmp_path / "pages", "--messages", tmp_path / "messages")
        return call(TOOL, "--output_dir", tmp_path / "out", *folders, "--languages", language)

    return compared


def test_the_default_budget_is_that_of_the_table():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "CORPUS.md").read_text()
    (spent,) = re.findall(r"`frontier` on the latter for ([0-9]+) TFLOP", page)
    assert f"default: '{spent}TFLOP'" in call(TOOL, "--help").stdout


@pytest.mark.parametrize(
    ("language", "folder", "told"),
    [
        ("ja", "pages/ja", r"pages/ja holds no page \*\.html with text: fill it, or leave ja out of --languages\."),
        ("th", "messages", r"messages holds no catalog \*\.mo with Thai messages: fill it, or leave th out"),
        ("hi", "data/languages/hi", r"data/languages/hi holds no file: fill it, or leave hi out"),
        ("fi", "data", r"the text of no language in fi is at hand"),
    ],
)
def test_a_folder_without_text_is_one_sentence(compare, tmp_path, language, folder, told):
    if language == "th":
        pytest.importorskip("polib")
    (tmp_path / folder).mkdir(parents=True)
    done = compare(language)
    assert done.returncode == 2
    assert re.search(told, done.stderr)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out" / f"{language}.jsonl").exists()


def test_pages_become_documents(compare, tmp_path):
    """What follows says that so little text makes no corpus."""
    (tmp_path / "pages" / "ja" / "sub").mkdir(parents=True)
    (tmp_path / "pages" / "ja" / "sub" / "a.html").write_text(PAGE, encoding="utf-8")
    (tmp_path / "pages" / "ja" / "b.html").write_text("<p>A button.</p>")
    done = compare("ja")
    assert done.returncode == 2 and "prepare_corpus.py ended with 2" in done.stderr
    assert json.loads((tmp_path / "out" / "ja.jsonl").read_text()) == {"text": "\u898b\u51fa\u3057\nOne bold word."}


def test_messages_of_catalogs_become_documents_of_forty(compare, tmp_path):
    pytest.importorskip("polib")
    (tmp_path / "messages").mkdir()
    thai = {f"message {number}": f"\u0e01\u0e02 {number:02d} " + "\u0e04" * 20 for number in range(50)}
    (tmp_path / "messages" / "a.mo").write_bytes(
        catalog(thai | {"ok": "\u0e01", "latin": "a message in English letters"})
    )
    assert compare("th").returncode == 2
    texts = [json.loads(line)["text"] for line in (tmp_path / "out" / "th.jsonl").read_text().splitlines()]
    assert [len(text.split("\n")) for text in texts] == [40, 10]
    assert sorted("\n".join(texts).split("\n")) == sorted(thai.values())
