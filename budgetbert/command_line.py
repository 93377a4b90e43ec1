"""What the recipes share before Keras is imported: flags, exit codes, the choice of the backend."""

import errno
import importlib.util
import os
import sys

from absl import app, flags

from budgetbert import gpus
from budgetbert.errors import InputError, TrainingError, is_disk_full, one_line
from budgetbert.launchers import announced_backend, find_place
from budgetbert.terminal import without_notices

# What a disk, its mount or a limit of the system refuses, and no program can help.
_OF_THE_SYSTEM = (
    *(errno.EACCES, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.EPERM, errno.EROFS),
    *(errno.ESTALE, errno.ETIMEDOUT),
)


def run(main, arguments=False):
    """Parses the absl flags, runs `main()` and exits.

    With `arguments`, what stands on the command line besides the flags is given to `main` as positional arguments.

    The exit code is 0 if `main` returns (or `--help` was asked for), 2, with one sentence, on bad input (`InputError`,
    or a flag that absl refuses), and 1 on anything else: with one sentence on a `TrainingError`, a full disk or what
    else the system refuses of a file, else a stack trace.
    """
    app.define_help_flags()
    program = os.path.basename(sys.argv[0])
    try:
        if {"--help", "-help", "-h"} & set(sys.argv[1:]):
            ours = [name for name in flags.FLAGS.flags_by_module_dict() if name.startswith("budgetbert")]
            texts = [flags.FLAGS.main_module_help(), *map(flags.FLAGS.module_help, ours)]
            print(sys.modules["__main__"].__doc__, *filter(None, texts), sep="\n")
            return
        rest = flags.FLAGS(sys.argv)[1:]
        if rest and not arguments:
            raise InputError(f"{rest[0]!r} is not a flag: options are written --name value.")
        main(*rest)
    except (InputError, flags.Error) as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)
    except TrainingError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM and error.filename:
            print(f"{program}: {error.filename}: {error.strerror}: mend that, and run it again.", file=sys.stderr)
            sys.exit(1)
        if not is_disk_full(error):
            raise
        print(
            f"{program}: the disk is full ({one_line(error)}): make room, and the same command goes on.",
            file=sys.stderr,
        )
        sys.exit(1)


def require(*names):
    """Raises an `InputError` for the first of some flags that was not given."""
    for name in names:
        if not getattr(flags.FLAGS, name):
            raise InputError(f"--{name} is missing: see --help.")


def check_exists(name):
    """Raises an `InputError` if there is nothing at the path that a flag gives."""
    path = getattr(flags.FLAGS, name)
    if not os.path.exists(path):
        told = path if len(path) <= 300 else f"{path[:300]}..."
        raise InputError(f"--{name} {told} cannot be read: {os.strerror(errno.ENOENT)}.")
    # A pipe or a device would be waited for, or never end.
    if not (os.path.isfile(path) or os.path.isdir(path)):
        raise InputError(f"--{name} {path} is neither a file nor a folder.")


def check_output_dir(path):
    """Raises an `InputError` where an `--output_dir` can neither be made nor written to."""
    place = os.path.abspath(path)
    # What is too long does not exist either, so the system is asked for the reason.
    while not os.path.lexists(place):
        try:
            os.lstat(place)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                told = path if len(path) <= 300 else f"{path[:300]}..."
                raise InputError(f"--output_dir {told} cannot be made: {error.strerror}.") from error
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        raise InputError(f"--output_dir {path} cannot be made: {place} is a file.")
    if not os.access(place, os.W_OK):
        raise InputError(f"--output_dir {path} cannot be written to: give another directory.")


def start_keras():
    """Chooses the backend, unless KERAS_BACKEND is set, and imports Keras.

    The choice is JAX where JAX sees a GPU, else TensorFlow, else what is installed. Several processes take the backend
    that their variables are for. Where the machine has a GPU that the backend cannot use, a sentence says so.

    Raises:
        InputError: if KERAS_BACKEND is none of ours, or not installed, or has to be set.
    """
    if "KERAS_BACKEND" not in os.environ and (backend := announced_backend()):
        os.environ["KERAS_BACKEND"] = backend
    installed = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
    cards = gpus.found()
    if "jax" in installed:
        gpus.prepare_jax(cards)
    if "KERAS_BACKEND" not in os.environ and installed:
        os.environ["KERAS_BACKEND"] = "jax" if "jax" in installed and _jax_sees_gpu() else installed[0]
    if os.environ.get("KERAS_BACKEND") not in installed:
        raise InputError(
            f"KERAS_BACKEND is {os.environ.get('KERAS_BACKEND')!r}: set it to one that is installed here "
            f"({', '.join(installed) or 'none is'}), or leave it unset."
        )
    if os.environ["KERAS_BACKEND"] == "jax":
        keep_compiled()
    with without_notices():
        import keras_hub  # noqa: F401
    # Several processes must be connected before their backend looks for devices.
    if cards and find_place(os.environ["KERAS_BACKEND"]) is None:
        from budgetbert.hardware import is_accelerated

        if not is_accelerated():
            print(gpus.unused(cards, os.environ["KERAS_BACKEND"]), file=sys.stderr)


def keep_compiled():
    """Lets JAX keep what it compiles in `budgetbert/jax` of the user's cache directory.

    A run after its plan, or a restart, then does not compile again.

    JAX's own JAX_COMPILATION_CACHE_DIR names another directory, and JAX_ENABLE_COMPILATION_CACHE=false keeps nothing.
    TensorFlow has nothing of the kind and traces in every process.
    """
    import jax

    if not jax.config.jax_compilation_cache_dir:
        root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(root, "budgetbert", "jax"))


def _jax_sees_gpu():
    import jax

    try:
        return jax.default_backend() == "gpu"
    except RuntimeError:
        return False
