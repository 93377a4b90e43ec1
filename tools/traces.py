"""What the profilers of TensorFlow and JAX saw: each operation, the scopes it was made in, and its own time."""

import collections
import dataclasses
import pathlib
import re
import tempfile


@dataclasses.dataclass(frozen=True)
class Operation:
    """Args:
    name: str. Its scopes, as the framework writes them: `while/gradient_tape/model/block_0/attention/qkv/MatMul`.
    kind: str. TensorFlow's type of operation, XLA's opcode.
    """

    name: str
    kind: str


def trace_tensorflow(function):
    """Runs a function under TensorFlow's profiler.

    Returns:
        Dict of seconds by `Operation`: its own, without those of operations inside it.
    """
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as directory:
        # 3: cheap operations as well
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=3, python_tracer_level=0)
        tf.profiler.experimental.start(directory, options)
        function()
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace.FromString(_trace_file(directory).read_bytes())
    seconds = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            named = ((event, _tensorflow_operation(event, plane)) for event in line.events)
            spans = [(e.offset_ps, e.offset_ps + e.duration_ps, operation) for e, operation in named if operation]
            for operation, own in _own_times(spans):
                seconds[operation] += own / 1e12
    return seconds


def _tensorflow_operation(event, plane):
    """Returns the `Operation` of an event of TensorFlow's profiler, or `None` if it is none."""
    name = plane.event_metadata[event.metadata_id].name
    if match := re.fullmatch(r"([\w./>-]+):(\w+)(?:#.*)?", name):
        return Operation(*match.groups())
    if name == "ExecutorState::ProcessAsync::Start":
        stats = {plane.stat_metadata[stat.metadata_id].name: stat for stat in event.stats}
        scopes, kind = (_text(stats[key], plane) for key in ("name", "kernel_type"))
        if "PartitionedCall" in kind:  # of a function that XLA compiled: others are inlined
            return Operation(scopes, "XLA")
    return None


def _text(stat, plane):
    return stat.str_value or plane.stat_metadata[stat.ref_value].name


def trace_jax(function, compiled):
    """Runs a function under JAX's profiler.

    Args:
        function: function without arguments that waits for what it computes.
        compiled: the `jax.stages.Compiled` that it runs, whose text knows the scopes.

    Returns:
        As `trace_tensorflow`.
    """
    import jax

    scopes = _operations(compiled.as_text())
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            function()
        planes = list(jax.profiler.ProfileData.from_file(str(_trace_file(directory))).planes)
        on_device = [plane for plane in planes if plane.name.startswith("/device:") and "CUSTOM" not in plane.name]
        seconds = collections.Counter()
        for plane in on_device or planes:
            for line in plane.lines:
                spans = [(e.start_ns, e.start_ns + e.duration_ns, e.name) for e in line.events if e.name in scopes]
                for name, own in _own_times(spans):
                    seconds[scopes[name]] += own / 1e9
    return seconds


def _operations(text):
    """Returns the `Operation` of each instruction of a compiled program's text, by its name.

    The compiler leaves some without scopes. A fusion then has those of the first instruction in it that has any, else
    any has those of the first that uses it.
    """
    kinds, scopes, calls, inside, users, computation = {}, {}, {}, {}, {}, None
    for line in text.splitlines():
        if match := re.match(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$", line):
            computation = match[1]
        elif match := re.match(r"\s+(?:ROOT )?%?([\w.-]+) = .*? ([\w-]+)\(([^)]*)\)", line):
            name, operands = match[1], re.findall(r"[\w.-]+", match[3])
            kinds[name] = match[2]
            if scope := re.search(r'op_name="([^"]+)"', line):
                scopes[name] = scope[1]
                inside.setdefault(computation, scope[1])
            elif called := re.search(r"calls=%?([\w.-]+)", line):
                calls[name] = called[1]
            for operand in operands:
                users.setdefault(operand, name)
    scopes |= {name: inside[called] for name, called in calls.items() if called in inside}
    for name in kinds.keys() - scopes.keys():
        if users.get(name) in scopes:
            scopes[name] = scopes[users[name]]
    waiting = {"while", "conditional", "call"}  # for what others compute
    return {name: Operation(scopes.get(name, name), kind) for name, kind in kinds.items() if kind not in waiting}


def _trace_file(directory):
    return next(pathlib.Path(directory).rglob("*.xplane.pb"))


def _own_times(spans):
    """Yields the name of each span of a thread and its time without that of the spans inside it."""
    open_spans = []  # (end, name, own time) of those around the present one
    for start, end, name in sorted(spans, key=lambda span: (span[0], -span[1])):
        while open_spans and open_spans[-1][0] <= start:
            _, *finished = open_spans.pop()
            yield tuple(finished)
        if open_spans:
            open_spans[-1][2] -= min(end, open_spans[-1][0]) - start
        open_spans.append([end, name, end - start])
    for _, name, own in reversed(open_spans):
        yield name, own
