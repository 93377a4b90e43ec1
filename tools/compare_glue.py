"""Compares two GLUE results of the same harness, as a model's and a random initialisation's: a table in Markdown.

Run       python tools/compare_glue.py RESULT.json BASELINE.json [--report]
"""

import os

os.environ.setdefault("BUDGETBERT_WITHOUT_KERAS", "1")  # reading needs no backend

from absl import flags

from budgetbert import command_line
from budgetbert.glue.report import write_report
from budgetbert.glue.result import read_result, title
from budgetbert.glue.table import baseline_markdown, protocol_line

flags.DEFINE_bool("report", False, "Whether glue.md and glue.html of the result are written anew, with the baseline.")


def main(*paths):
    if len(paths) != 2:
        raise command_line.InputError(
            f"{len(paths)} files are given: name the glue.json of a result and of a baseline."
        )
    result, baseline = map(read_result, paths)
    print(f"{title(result)} against {title(baseline)}. {protocol_line(result)}\n")
    print("\n".join(baseline_markdown(result, baseline)))
    if flags.FLAGS.report:
        print(f"\n{write_report(*paths)}")


if __name__ == "__main__":
    command_line.run(main, arguments=True)
