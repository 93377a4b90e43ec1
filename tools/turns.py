"""Functions timed in turn, A B A B ..., so that whatever else the machine does meets all of them alike."""

import json
import math
import time

_TURN_SECONDS = 0.25  # of calls whose results are fetched together, so that the fetch of a short one does not count


def take_turns(functions, seconds, least):
    """Times functions in turn.

    Each is called twice before: the first call compiles, the second says how many of them make a turn.

    Args:
        functions: dict of functions that return a scalar, perhaps still on the device.
        seconds: float. How long to measure, for all together.
        least: int. Turns of each at least.

    Returns:
        Dict of lists: the seconds of a call, turn by turn.
    """
    calls = {}
    for name, function in functions.items():
        float(function())
        calls[name] = max(1, math.ceil(_TURN_SECONDS / _seconds(function, 1)))
    taken = {name: [] for name in functions}
    start, turns = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or turns < least:
        for name, function in functions.items():
            taken[name].append(_seconds(function, calls[name]))
        turns += 1
    return taken


def _seconds(function, calls):
    """Seconds of a call, the mean of `calls` one after another."""
    began = time.perf_counter()
    for _ in range(calls):
        scalar = function()
    float(scalar)
    return (time.perf_counter() - began) / calls


def write_json(result, path):
    """Writes the figures, if there is a `path` for them."""
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
