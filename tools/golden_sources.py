"""What `tools/golden.py` prepares, finetunes on and tokenizes: made up, and always the same."""

import html
import json
import random
import sys
from pathlib import Path

_ODD = (
    "Élève naïve e\u0301clair Straße İstanbul ΣΊΣΥΦΟΣ Ещё объём 東京タワー 我喜欢北京 한국어 हिन्दी עִבְרִית ½ 1,024 3.14 "
)
_ODD += "2026 ﬁne so\u00adft zero\u200bwidth 😀 “curly” don't — http://a.example/b?c=1 &amp; Ã©tÃ© x@y.example [MASK]"
_ALPHABETS = "20-7E A0-24F 300-36F 370-52F 590-6FF 900-E7F 1100-11FF 1E00-2BFF 3000-31FF 4E00-4E4F AC00-AC4F F900-FB4F "
_ALPHABETS += "FE00-FFFD 1F300-1F6FF 20000-2004F 1-A0 E000-E00F"
_PAGE = (
    "<page><title>{title}</title><ns>{space}</ns><revision><model>wikitext</model><text>{text}</text></revision></page>"
)
_WIKITEXT = """{{{{Box|a=1}}}}'''{first}'''<ref>{word}</ref>
== {word} ==
* [[{word}|{other}]] [[{other}]]s

{rest}
{{| class=a
|-
| cell
|}}
[[Category:A]] [http://a.example {other}] <math>x^2</math>"""


def write_sources(folder):
    """Writes the folders `text` and `glue`, `wiki.xml` and `lines.json` into a folder (`Path`)."""
    generator = random.Random("golden")
    words = _words(generator)
    documents = _documents(generator, words, 400)
    (folder / "text").mkdir()
    (folder / "text" / "a.txt").write_text("\n\n".join(documents[:200]), encoding="utf-8")
    lines = [json.dumps({"text": text}, ensure_ascii=len(text) % 2 == 0) + "\n" for text in documents[200:]]
    (folder / "text" / "b.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "wiki.xml").write_text(_dump(words, documents[:120]), encoding="utf-8")
    (folder / "glue" / "RTE").mkdir(parents=True)
    for stem, count in (("train", 72), ("dev", 40)):
        rows = "".join(_glue_row(generator, words, number) for number in range(count))
        text = f"index\tsentence1\tsentence2\tlabel\n{rows}"
        (folder / "glue" / "RTE" / f"{stem}.tsv").write_text(text, encoding="utf-8")
    alphabets = [[int(end, 16) for end in span.split("-")] for span in _ALPHABETS.split()]
    lines = ["", *(_line(generator, words, alphabets) for _ in range(999))]
    (folder / "lines.json").write_text(json.dumps(lines))


def _words(generator):
    syllables = [a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "an", "er")]
    words = ["".join(generator.choices(syllables, k=generator.randint(1, 4))) for _ in range(1200)]
    return [*words[:20], *_ODD.split(), *words[20:]]


def _documents(generator, words, number):
    """Returns documents (list of str), some of them repeated, whole, nearly or in part."""
    weights, made = [1 / (rank + 3) for rank in range(len(words))], []

    def sentence():
        chosen = generator.choices(words, weights, k=generator.randint(3, 16))
        return " ".join(chosen).capitalize() + generator.choice("...?!;")

    for place in range(number):
        lines = [" ".join(sentence() for _ in range(generator.randint(1, 5))) for _ in range(generator.randint(2, 6))]
        earlier = generator.choice(made or [""])
        if place % 10 == 7:
            lines = [earlier]
        elif place % 10 == 8:
            lines = [f"{earlier[:-12]} almost the same."]
        elif place % 10 == 9:
            lines[1:1] = [earlier[: len(earlier) // 2], lines[0]]
        made.append("\n".join(lines))
    return made


def _dump(words, documents):
    """Returns a MediaWiki dump (str) of documents, one in nine of another namespace, one a redirect."""
    pages = [_PAGE.format(title="Redirect", space=0, text="#REDIRECT [[Page 1]]")]
    for number, document in enumerate(documents):
        first, _, rest = document.partition("\n")
        parts = {"first": first, "rest": rest.replace("\n", "\n\n"), "word": words[number], "other": words[number + 1]}
        text = html.escape(_WIKITEXT.format(**parts))
        pages.append(_PAGE.format(title=f"Page {number}", space=int(number % 9 == 8), text=text))
    head = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">'
    return "\n".join([head, *pages, "</mediawiki>\n"])


def _glue_row(generator, words, number):
    pair = [" ".join(generator.choices(words, k=generator.randint(3, 20))) for _ in range(2)]
    return "\t".join([str(number), *pair, generator.choice(("entailment", "not_entailment"))]) + "\n"


def _line(generator, words, alphabets):
    """Returns a line (str) of words, and of three alphabets."""
    parts = [*generator.choices(words, k=4), *generator.choices(_ODD.split(), k=2)]
    for first, last in generator.choices(alphabets, k=3):
        parts.append("".join(chr(generator.randint(first, last)) for _ in range(generator.randint(1, 6))))
    generator.shuffle(parts)
    return " ".join(parts)


if __name__ == "__main__":
    write_sources(Path(sys.argv[1]))
