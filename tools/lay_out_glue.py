"""Lays out a folder in GLUE's official layout, of links, from one that has samples of some files under other names.

Run       python tools/lay_out_glue.py GLUE OUTPUT

`train.tsv` is a link to itself or, where it is missing, to `train_sample.tsv`; a missing development set is a link to
`dev_sample.tsv` or to `heldout_from_train.tsv`; each file may also end in `.tsv.xz`. A result tells samples by their
number of rows, which is below the official one.
"""

import os

from budgetbert import command_line
from budgetbert.errors import InputError
from budgetbert.finetuning.tasks import TASKS


def main(*folders):
    if len(folders) != 2:
        raise InputError(f"{len(folders)} folders are given: name the one with the files, and the one to make.")
    source, destination = folders
    if os.path.exists(destination):
        raise InputError(f"{destination} is there already: give the name of a new folder.")
    links = dict(_links(source, destination))
    if not links:
        raise InputError(f"{source} holds no file of GLUE: its files are called CoLA/train.tsv or train_sample.tsv.")
    for link, path in links.items():
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(os.path.abspath(path), link)
    print(f"{destination}: {len(links)} files of {len({os.path.dirname(link) for link in links})} tasks")


def _links(source, destination):
    """Yields tuples of a link's path and of what it is to lead to."""
    for task in TASKS.values():
        for split in filter(None, (task.train, *task.dev, *task.test)):
            stems = [split.stem, f"{split.stem}_sample", *(["heldout_from_train"] if split in task.dev else [])]
            names = [stem + end for stem in stems for end in (".tsv", ".tsv.xz")]
            paths = (os.path.join(source, task.title, name) for name in names)
            if path := next(filter(os.path.isfile, paths), None):
                end = ".tsv.xz" if path.endswith(".xz") else ".tsv"
                yield os.path.join(destination, task.title, split.stem + end), path


if __name__ == "__main__":
    command_line.run(main, arguments=True)
