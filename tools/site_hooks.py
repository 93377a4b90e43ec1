"""What mkdocs makes pages of besides `docs/`: README as the first page, and other files of the repository."""

import re
from pathlib import Path

from mkdocs.structure.files import File

REPOSITORY = Path(__file__).parents[1]
# Pages by their names in the site.
PAGES = {
    "index.md": "README.md",
    "BOOKS.md": "budgetbert/corpus/sources/novels/BOOKS.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
}
NAMES = {path: name for name, path in PAGES.items()}


def on_files(files, config):
    """Adds the pages that are no files of `docs/`."""
    for name, path in PAGES.items():
        files.append(File.generated(config, name, content=(REPOSITORY / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown, page, config, files):
    """Makes links to files of the repository links to their pages; a file without a page is named without a link."""

    def link(found):
        text, path, anchor = found[1], found[2], found[3] or ""
        path = path.removeprefix("../")
        target = NAMES.get(path, path.removeprefix("docs/"))
        return f"[{text}]({target}{anchor})" if files.get_file_from_path(target) else text

    return re.sub(r"(?<!!)\[([^\]]+)\]\(((?!https?:)[^)#]+)(#[^)]*)?\)", link, markdown).replace("](docs/pic", "](pic")
