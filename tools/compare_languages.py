"""Ten languages through the same two commands: the table of docs/CORPUS.md.

Each is prepared cased and with its accents, with a vocabulary of 32,768 and of 8,192 entries; on the latter the recipe
`frontier` spends the same FLOPs. What is unknown is counted on held-out documents. Text that is not at hand is left out
and told. A language that is done is not done again, so a killed run goes on.

Run       python tools/compare_languages.py --output_dir runs/languages [--help_pages DIR] [--messages DIR]
Time      10 min a language on two cores
Text      `languages` of BUDGETBERT_DATA; for Japanese and Korean the help of LibreOffice (Debian's packages
          libreoffice-help-ja and -ko lay it in /usr/share/libreoffice/help); for Thai the messages of its programs
          (package libreoffice-l10n-th; `pip install polib` reads them), forty in a document
"""

import html.parser
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
from absl import flags

from budgetbert import command_line, files
from budgetbert.errors import InputError

flags.DEFINE_string("output_dir", None, "Folder for texts, corpora, runs and the table.")
flags.DEFINE_string("help_pages", "/usr/share/libreoffice/help", "Folder with the folders ja and ko of HTML pages.")
flags.DEFINE_string("messages", "/usr/lib/libreoffice/program/resource/th", "Folder with catalogs of Thai, *.mo.")
flags.DEFINE_string("budget", "15TFLOP", "FLOPs of each training.")
flags.DEFINE_list("languages", None, "Codes of those to take; all by default.")
FLAGS = flags.FLAGS

LANGUAGES = {
    "zh": "Chinese",
    "ja": "Japanese",
    "ko": "Korean",
    "th": "Thai (messages)",
    "hi": "Hindi",
    "ar": "Arabic",
    "tr": "Turkish",
    "vi": "Vietnamese",
    "ru": "Russian",
    "fi": "Finnish",
}
_SIZES = (32_768, 8_192)
_RECIPES = pathlib.Path(__file__).parents[1] / "recipes"
# Shorter messages are names of buttons.
_MESSAGES_OF_A_DOCUMENT, _SHORTEST_MESSAGE = 40, 20
_THAI = re.compile("[\u0e01-\u0e5b]")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


def main():
    if not FLAGS.output_dir:
        raise InputError("--output_dir is missing: name the folder for texts, corpora, runs and the table.")
    chosen = FLAGS.languages or list(LANGUAGES)
    if unknown := sorted(set(chosen) - set(LANGUAGES)):
        raise InputError(f"--languages names {', '.join(unknown)}: give some of {', '.join(LANGUAGES)}.")
    output = pathlib.Path(FLAGS.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    for language in chosen:
        text = text_of(language, output)
        if text is None:
            print(f"{LANGUAGES[language]} is left out: its text is not at hand, see --help.")
        else:
            rows.append(measure(language, text, output))
            files.write(output / "languages.md", table(rows))
    if not rows:
        raise InputError(f"the text of no language in {','.join(chosen)} is at hand: --help says where it comes from.")
    print((output / "languages.md").read_text())


def text_of(language, output):
    """Returns what `--corpus` is to name for a language.

    Args:
        language: str, its code.
        output: `Path` of the folder for texts that are put together from pages or messages.

    Returns:
        str, a path, or `None` where there is no folder for the language.

    Raises:
        InputError: if there is one, and no text in it.
    """
    made = output / f"{language}.jsonl"
    if made.exists():
        return str(made)
    data = os.path.join(os.environ.get("BUDGETBERT_DATA", ""), "languages", language)
    for folder, read, wanted in (
        (os.path.join(FLAGS.help_pages, language) if language in ("ja", "ko") else "", pages, "page *.html with text"),
        (FLAGS.messages if language == "th" else "", messages, "catalog *.mo with Thai messages"),
        (data, None, "file"),
    ):
        if not os.path.isdir(folder):
            continue
        documents = list(read(folder)) if read else os.listdir(folder)
        if not documents:
            raise InputError(f"{folder} holds no {wanted}: fill it, or leave {language} out of --languages.")
        if not read:
            return folder
        lines = [json.dumps({"text": document}, ensure_ascii=False) for document in documents]
        files.write(made, "\n".join(lines) + "\n")
        return str(made)
    return None


class _Paragraphs(html.parser.HTMLParser):
    """Collects the headings and paragraphs of a page, markup aside."""

    def __init__(self):
        super().__init__()
        self.paragraphs, self._open = [], None

    def handle_starttag(self, tag, attributes):
        if tag in _HEADINGS or (tag == "p" and dict(attributes).get("class") == "paragraph"):
            self._open = []

    def handle_endtag(self, tag):
        if self._open is not None and tag in ("p", *_HEADINGS):
            self.paragraphs.append(" ".join("".join(self._open).split()))
            self._open = None

    def handle_data(self, data):
        if self._open is not None:
            self._open.append(data)


def prose(page):
    """Returns the headings and paragraphs of an HTML page (str), one in a line."""
    parser = _Paragraphs()
    parser.feed(page)
    return "\n".join(filter(None, parser.paragraphs))


def pages(folder):
    """Yields the `prose` (str) of the HTML pages in a folder and its folders that have any."""
    texts = (
        path.read_text(encoding="utf-8", errors="replace") for path in sorted(pathlib.Path(folder).rglob("*.html"))
    )
    yield from filter(None, map(prose, texts))


def messages(folder):
    """Yields documents (str) of the Thai messages of the catalogs in a folder, one in a line."""
    try:
        import polib
    except ImportError as error:
        raise InputError("Thai messages need polib, which is not installed: pip install polib.") from error

    found = []
    for path in sorted(pathlib.Path(folder).rglob("*.mo")):
        texts = (" ".join(entry.msgstr.split()) for entry in polib.mofile(path))
        found += [text for text in texts if _THAI.search(text) and len(text) >= _SHORTEST_MESSAGE]
    for start in range(0, len(found), _MESSAGES_OF_A_DOCUMENT):
        yield "\n".join(found[start : start + _MESSAGES_OF_A_DOCUMENT])


def measure(language, text, output):
    """Prepares and trains a language; returns a dict of its figures.

    Args:
        language: str, its code.
        text: str, what `--corpus` names.
        output: `Path` of the folder for corpora and runs.
    """
    figures = {"language": LANGUAGES[language]}
    for size in _SIZES:
        corpus = output / f"{language}-{size}"
        _run(
            *("prepare_corpus.py", f"--corpus={text}", "--nolowercase", "--nostrip_accents"),
            *(f"--vocabulary_size={size}", "--validation_fraction=0.03", f"--output_dir={corpus}"),
        )
        figures |= _of_corpus(corpus, size)
    run = output / f"{language}-run"
    _run("frontier.py", f"--corpus={corpus}", f"--budget={FLAGS.budget}", f"--output_dir={run}")
    final = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    epochs = final["tokens"] / figures["tokens"]
    return figures | {"loss": final["validation_loss"], "epochs": epochs, "minutes": final["elapsed_seconds"] / 60}


def _run(recipe, *arguments):
    """Runs a recipe to its end; ends the program where it fails."""
    result = subprocess.run([sys.executable, str(_RECIPES / recipe), *arguments], check=False)
    if result.returncode:
        raise InputError(f"{recipe} ended with {result.returncode}: see what it says above.")


def _of_corpus(directory, size):
    from budgetbert.corpus import store

    corpus = store.open_corpus(directory)
    rows = corpus.rows("validation")
    ids = np.asarray(rows[np.arange(len(rows))]).ravel()
    special = {number for name, number in corpus.special_ids.items() if name != "[UNK]"}
    ids = ids[~np.isin(ids, list(special))]
    manifest = corpus.manifest
    characters = sum(source["characters"] for source in manifest["sources"])
    return {
        "characters": characters,
        "tokens": manifest["counts"]["tokens"]["train"],
        f"entries_{size}": len(corpus.vocabulary),
        f"unknown_{size}": float(np.mean(ids == corpus.special_ids["[UNK]"])),
        "per_character": sum(manifest["counts"]["tokens"].values()) / characters,
        "entropy": manifest["validation_unigram_entropy"],
    }


def table(rows):
    """Returns a Markdown table (str) of what `measure` returned for each language."""
    large, small = _SIZES
    lines = [
        f"| language | characters | entries of {large:,} | unknown | unknown at {small:,} | tokens per character "
        "| times read | unigram entropy | loss | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['language']} | {row['characters'] / 1e6:.1f} M | {row[f'entries_{large}']:,} "
            f"| {row[f'unknown_{large}']:.2%} | {row[f'unknown_{small}']:.2%} | {row['per_character']:.2f} "
            f"| {row['epochs']:.0f} | {row['entropy']:.2f} | {row['loss']:.2f} | {row['minutes']:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line.run(main)
