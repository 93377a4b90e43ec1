"""What every program prints with: a console that outlives its reader."""

import contextlib
import os
import sys

from rich.console import Console

# Where nobody looks, in a file or the output of a job, paths and tables are not to be torn in two.
_COLUMNS_OF_A_FILE = 160


class LastingConsole(Console):
    """A console on which no work depends: where nobody reads any more, it falls silent.

    A pipe is closed by `head`, or with the connection of whoever looked on; rich's own console then ends the program.

    Args:
        **settings: as for `rich.console.Console`. The width defaults to that of the terminal, and to 160 columns where
            there is none.

    Example:
        >>> import io
        >>> LastingConsole(file=io.StringIO()).width
        160
    """

    def __init__(self, **settings):
        super().__init__(**settings)
        if settings.get("width") is None and not self.is_terminal:
            self.width = _COLUMNS_OF_A_FILE

    def on_broken_pipe(self):
        """Falls silent; what Python itself would still write to the pipe at the end goes nowhere."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def without_notices():
    """Context in which nothing is written to standard error, also by native code.

    TensorFlow writes a dozen lines of start-up notices to the descriptor itself while it is imported; no setting stops
    them all.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
