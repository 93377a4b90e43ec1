"""Writes report.html of prepared corpora: one page each, in the directory of the corpus. No text is read again.

Run       python tools/report_corpus.py corpora/mine [CORPUS ...]
"""

import os

os.environ.setdefault("BUDGETBERT_WITHOUT_KERAS", "1")  # reading needs no backend

from budgetbert import command_line
from budgetbert.corpus.report import write_report


def main(*directories):
    if not directories:
        raise command_line.InputError("no corpus is given: name the --output_dir of one or more.")
    for directory in directories:
        print(write_report(directory))


if __name__ == "__main__":
    command_line.run(main, arguments=True)
