"""Where exports go: a folder is empty, or an earlier export of the same format."""

import contextlib
import json
import os

from budgetbert import __version__, files
from budgetbert.errors import InputError

RECORD = "export.json"


def check(directory, export_format):
    """Raises an `InputError` unless `directory` can take an export of `export_format`: new, empty, or one of these.

    Args:
        directory: string.
        export_format: string, `"serving"`, `"transformers"`, `"onnx"` or `"litert"`.
    """
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise InputError(f"--output_dir {directory} is a file: give a directory.")
    if not os.path.isdir(directory) or not os.listdir(directory):
        return
    try:
        with open(os.path.join(directory, RECORD), encoding="utf-8") as file:
            found = json.load(file)["format"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != export_format:
        holds = f"an export to {found}" if found else "something that is no export"
        raise InputError(f"--output_dir {directory} holds {holds}: give a new or an empty directory.")


@contextlib.contextmanager
def replacing(directory, export_format):
    """Context in which an export is written, whole or not at all, in place of an earlier one of the same format.

    Args:
        directory: string.
        export_format: string, as in `check`.

    Yields:
        The path of an empty directory beside `directory`, which takes its place when the context ends without an error.
    """
    check(directory, export_format)
    with files.replacing(directory) as temporary:
        os.makedirs(temporary)
        yield temporary


@contextlib.contextmanager
def next_version(directory):
    """Context in which a version for TensorFlow Serving is written, whole or not at all, since the server polls.

    Args:
        directory: string. The model's base path, with versions as `1`, `2` ... in it.

    Yields:
        `(path, version)`: the path of an empty directory, which becomes `directory/<version>` when the context ends
        without an error, and the version (int), one above the highest there.
    """
    check(directory, "serving")
    os.makedirs(directory, exist_ok=True)
    version = 1 + max((int(name) for name in os.listdir(directory) if name.isdecimal()), default=0)
    # A server takes a folder for a version if its name is a number: `2.tmp` is none.
    with files.replacing(os.path.join(directory, str(version))) as temporary:
        os.mkdir(temporary)
        yield temporary, version


def write_record(directory, export_format, **facts):
    """Writes `export.json`, by which a folder is known as an export, and returns its content as a dict."""
    record = {"format": export_format, "budgetbert": __version__, **facts}
    files.write(os.path.join(directory, RECORD), json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return record
