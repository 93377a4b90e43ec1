"""The leaderboard's zip: one file of predictions for each task, as gluebenchmark.com reads them, and its validator.

Source: gluebenchmark.com/faq; file names and headers as in nyu-mll/jiant's formatter, the score of STS-B with three
decimals as in the script of GLUE's baselines.
"""

import math
import os
import zipfile

from budgetbert import files
from budgetbert.errors import InputError
from budgetbert.finetuning.tasks import TASKS

HEADER = "index\tprediction"
_DECIMALS = 3
# The highest score of STS-B.
_HIGHEST = 5.0
# Every file gets the earliest time of a zip, so that equal predictions give equal bytes.
_BEGINNING = (1980, 1, 1, 0, 0, 0)


_ENDINGS = {"_matched": "-m", "_mismatched": "-mm"}


def file_of(task, split):
    """Returns the name, without `.tsv`, of the file that holds the predictions for a test `Split` of a `Task`."""
    return task.title + _ENDINGS.get(split.suffix, "")


# The official count of rows of each file, and its labels; without labels it holds scores from 0 to 5.
FILES = {file_of(task, split): (split.rows, task.labels) for task in TASKS.values() for split in task.test}


def write_submission(predictions, directory):
    """Writes `submission.zip`, whole or not at all; equal predictions give equal bytes.

    It is written of whatever tasks are there: `check_submission` tells what the site would refuse.

    Args:
        predictions: dict of a key of `FILES` to a list in the order of the test set: labels as the site writes them,
            or, of STS-B, numbers, which are cut to [0, 5].
        directory: str, made if it is not there.

    Returns:
        str, the path of the zip.

    Raises:
        InputError: if a task or a label is none of the site's, or a score is no number.
    """
    unknown = [name for name in predictions if name not in FILES]
    if unknown:
        raise InputError(f"{unknown[0]!r} is no file of a GLUE submission: give some of {', '.join(FILES)}.")
    texts = {name: _text(name, predictions[name]) for name in FILES if name in predictions}
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "submission.zip")
    with files.replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            entry = zipfile.ZipInfo(f"{name}.tsv", _BEGINNING)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(entry, text)
    return path


def check_submission(path):
    """Checks file names, headers, row counts, indices and labels of a submission.

    Args:
        path: str. A zip.

    Returns:
        list of str, what is wrong with it: one sentence for each file, missing ones included; empty if the site would
        take it.

    Raises:
        InputError: if there is no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            texts = {name: archive.read(name) for name in {*names} if name.removesuffix(".tsv") in FILES}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except zipfile.BadZipFile:
        return [f"{os.path.basename(path)} is no whole zip file."]
    wanted = [f"{name}.tsv" for name in FILES]
    found = [f"{name} is none of the site's files." for name in names if name not in wanted]
    found += [f"{name} is there {names.count(name)} times." for name in wanted if names.count(name) > 1]
    for name in wanted:
        if name not in names:
            found.append(f"{name} is missing: the site wants all {len(FILES)} files.")
        else:
            fault = _fault(name.removesuffix(".tsv"), texts[name])
            found += [f"{name}: {fault}."] if fault else []
    return found


def _text(name, predictions):
    written = [_label(name, index, prediction) for index, prediction in enumerate(predictions)]
    return "".join(f"{line}\n" for line in (HEADER, *(f"{index}\t{label}" for index, label in enumerate(written))))


def _label(name, index, prediction):
    _, labels = FILES[name]
    if labels:
        if str(prediction) not in labels:
            raise InputError(f"{name} predicts {prediction!r} at index {index}: its labels are {', '.join(labels)}.")
        return str(prediction)
    try:
        score = float(prediction)
    except (TypeError, ValueError):
        score = math.nan
    if math.isnan(score):
        raise InputError(f"{name} predicts {prediction!r} at index {index}, which is no number.")
    return f"{min(max(score, 0.0), _HIGHEST):.{_DECIMALS}f}"


def _fault(name, content):
    """Returns the first thing that is wrong with a file, as a phrase, or `None`."""
    try:
        lines = content.decode("ascii").split("\n")
    except UnicodeDecodeError:
        return "it is not plain text"
    if lines[0] != HEADER:
        return f"its header is {lines[0]!r}, not {HEADER!r}"
    if lines[-1]:
        return "its last line does not end"
    for index, line in enumerate(lines[1:-1]):
        cells = line.split("\t")
        if len(cells) != 2:
            return f"row {index} has {len(cells)} columns, not 2"
        if cells[0] != str(index):
            return f"row {index} has the index {cells[0]!r}"
        if not _is_label(name, cells[1]):
            return f"row {index} has the label {cells[1]!r}"
    rows, (wanted, _) = len(lines) - 2, FILES[name]
    return None if rows == wanted else f"it has {rows:,} rows, the test set {wanted:,}"


def _is_label(name, text):
    _, labels = FILES[name]
    if labels:
        return text in labels
    try:
        return 0 <= float(text) <= _HIGHEST and len(text.partition(".")[2]) == _DECIMALS
    except ValueError:
        return False
