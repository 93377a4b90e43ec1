"""The versions of what a run or a preparation was made with."""

import importlib.metadata


def package_versions(names):
    """Returns a dict of each package's version (str), `None` where it is not installed."""
    return {name: _version(name) for name in names}


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
