"""What the processes of a run tell each other. Imports no Keras.

What the first process decides holds for all, and none goes on when one is lost. They talk over TCP connections of their
own, not through collectives: the host decides between the calls that the devices compute, and must neither wait for a
device nor hang with it. A connection also breaks within a moment when its process dies, whatever the backend makes of
that.
"""

import atexit
import contextlib
import json
import os
import queue
import secrets
import socket
import sys
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

from budgetbert.budget import BudgetClock
from budgetbert.errors import InputError, TrainingError

# Seconds for the connections, once the backend has brought the processes together.
_PATIENCE = 60
# Seconds for whoever has connected to say who it is.
_GREETING = 5
# Seconds in which a lost process is noticed when a backend has already complained about it.
_COMPLAINTS = 10


class Processes:
    """The processes of a run, each connected to the first; a context. Alone, this one decides and writes by itself.

    All processes must call the methods in the same order. Left with an error, the context ends the others, with the
    exit code that follows from the error. A process that is lost ends all others with code 1 and one sentence, from a
    thread: their main threads may be held in a collective for good.

    Args:
        place: `Place`. Defaults to `None`: this process is alone.
        broadcast: function of a list of integers below 2^31 that returns those of process 0, by way of the backend.
            Defaults to `None`.

    Attributes:
        rank: int.
        count: int.
        first: bool. Whether this process decides and writes.
        before_exit: list of functions of a sentence, called before this process ends because of another.

    Raises:
        TrainingError: if the processes cannot be connected.

    Example:

    ```python
    with Processes() as processes:
        seed = processes.broadcast(7)
        if processes.first:
            print(processes.sum_over_processes(1), "process")
    ```
    """

    def __init__(self, place=None, broadcast=None):
        self.rank, self.count = (place.rank, place.count) if place else (0, 1)
        self.first = self.rank == 0
        self.before_exit = []
        # The clock of the first process when it last broadcast something.
        self._now = 0.0
        self._signal = None
        self._leaving = False
        self._ending = threading.Lock()
        self._peers = self._connect(place.host, broadcast) if place else []
        for peer in self._peers:
            threading.Thread(target=self._listen, args=(peer,), name="peer", daemon=True).start()

    def broadcast(self, value):
        """Returns the first process's `value`, which JSON can hold, in all of them."""
        if self.count == 1:
            return value
        if self.first:
            self._now = time.monotonic()
            self._send("value", [value, self._now])
            # The first process gets what the others get: lists for tuples.
            return json.loads(json.dumps(value))
        message = self._peers[0].inbox.get()
        if message is None:
            # The first process is done, and nothing is left to do.
            self._leaving = True
            raise SystemExit(0)
        value, self._now = message
        return value

    def sum_over_processes(self, number):
        """Returns, in the first process, the sum of all processes' numbers."""
        if not self.first:
            self._send("number", number)
            return number
        return number + sum(peer.inbox.get() for peer in self._peers)

    def barrier(self):
        """Holds every process until all of them have called it."""
        self.sum_over_processes(0)
        self.broadcast(None)

    def wait_for_first(self):
        """Holds the other processes here until the first has called `release_others`."""
        if not self.first:
            self.broadcast(None)

    def release_others(self):
        """Lets the other processes go on from `wait_for_first`."""
        if self.first:
            self.broadcast(None)

    def signal(self, name):
        """Returns the signal that any of the processes got, or `None`, in all of them.

        Args:
            name: str or `None`. The signal that this process got.
        """
        if name and not self.first and name != self._signal:
            self._signal = name
            self._send("signal", name)
        return self.broadcast(name or self._signal)

    def clock(self, clock):
        """Returns the `BudgetClock` that all processes read alike, of one that just started."""
        if self.count == 1:
            return clock
        return BudgetClock(clock.budget, self.broadcast(clock.seconds), now=lambda: self._now)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None:
            # All leave together, so that none seems lost to the others and the backend's own farewell finds all.
            self._leaving = True
            self._send("done", None)
            for peer in self._peers:
                peer.done.wait()
        elif self._leaving:
            self._send("done", None)
        elif self._peers:
            self._fail(error)

    def _connect(self, host, broadcast):
        server = None
        if self.first:
            dual = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if dual else socket.AF_INET
            server = socket.create_server(("", 0), family=family, dualstack_ipv6=dual, backlog=self.count)
        # Whoever else finds the port does not know these numbers.
        port, *key = broadcast([server.getsockname()[1] if server else 0, *(secrets.randbits(31) for _ in range(4))])
        key = json.dumps(key).encode()
        try:
            if self.first:
                return self._accept(server, key)
            peer = _Peer(0, socket.create_connection((host, port), timeout=_PATIENCE))
            peer.introduce(self.rank, key)
            return [peer]
        except (OSError, EOFError, AuthenticationError) as error:
            raise TrainingError(
                f"process {self.rank} of {self.count} has no connection to "
                f"{'the others' if self.first else f'{host}:{port}'} ({error}): open the ports between the machines."
            ) from error

    def _accept(self, server, key):
        peers, deadline = {}, time.monotonic() + _PATIENCE
        with server:
            while len(peers) < self.count - 1:
                server.settimeout(max(0.01, deadline - time.monotonic()))
                peer = _Peer(None, server.accept()[0])
                with contextlib.suppress(OSError, EOFError, ValueError, AuthenticationError):
                    peer.greet(key)
                    peers[peer.rank] = peer
        return [peers[rank] for rank in sorted(peers)]

    def _send(self, kind, value):
        for peer in self._peers:
            peer.send([kind, value])

    def _fail(self, error):
        code = error.code if isinstance(error, SystemExit) else 2 if isinstance(error, InputError) else 1
        explained = isinstance(error, InputError | TrainingError)
        why = str(error) if explained else f"process {self.rank} of {self.count} ended ({type(error).__name__})."
        if not explained and not isinstance(error, SystemExit | KeyboardInterrupt):
            # The error may be how the backend says that another process is lost.
            time.sleep(_COMPLAINTS)
        # The lock is taken for good; where a thread has it, that thread ends the process.
        self._ending.acquire()
        self._send("ended", [code, why])
        # The backend's farewell, registered before this, would wait for those that are ending.
        atexit.register(_leave, code)

    def _listen(self, peer):
        # A broken connection and half a message are an end as well.
        with contextlib.suppress(OSError, EOFError, ValueError):
            while True:
                self._receive(peer, *peer.read())
        if not peer.done.is_set():
            peer.done.set()
            # Where the first process is leaving, the result is written and nothing is lost.
            if not (self._leaving and self.first):
                why = f"process {peer.rank} of {self.count} was lost: the same commands go on from the last checkpoint."
                self._end(1, why)

    def _receive(self, peer, kind, value):
        if kind in ("value", "number"):
            peer.inbox.put(value)
        elif kind == "signal":
            self._signal = self._signal or value
        else:
            peer.done.set()
            if kind == "ended":
                self._end(*value)
            peer.inbox.put(None)

    def _end(self, code, why):
        """Ends this process, and the others if it is the first; from a thread, whatever the main thread is held by."""
        self._ending.acquire()
        if self.first:
            self._send("ended", [code, why])
        for act in self.before_exit:
            act(why)
        end_process(code, why)


def check_alike(processes, values, shown=None):
    """Ends all processes of a run where one was started with other values than the first, before anything is trained.

    To be called in step.

    Args:
        processes: `Processes`.
        values: dict of what has to be equal and JSON can hold, by the name that a sentence gives it.
        shown: dict of the values as a sentence gives them, by the same names. Defaults to `None`: as they are.

    Raises:
        InputError: in the process that differs, with the name and both values; it ends the others with the same
            sentence.
    """
    told = json.loads(json.dumps([values, shown or values]))  # tuples become lists, as the others get them
    first, first_shown = processes.broadcast(told)
    for name, mine in told[0].items():
        if mine != first.get(name):
            raise InputError(
                f"process {processes.rank} of {processes.count} was started with {name} {_short(told[1][name])}, "
                f"process 0 with {_short(first_shown.get(name))}: start all with the same."
            )
    processes.barrier()  # the first goes on when all have compared


def _short(value):
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


class _Peer:
    """The connection to another process, which carries JSON."""

    def __init__(self, rank, connected):
        self.rank = rank
        self.inbox = queue.SimpleQueue()
        self.done = threading.Event()
        connected.settimeout(None)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A machine that is gone, or a broken network, ends the connection after a minute (Linux; seconds, count, ms).
        for name, value in (
            *(("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 3)),
            ("TCP_USER_TIMEOUT", 60_000),
        ):
            if hasattr(socket, name):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._connection = Connection(connected.detach())
        self._lock = threading.Lock()

    def introduce(self, rank, key):
        """Says the own rank to the first process, once each has proved to the other that it knows the key."""
        deliver_challenge(self._connection, key)
        answer_challenge(self._connection, key)
        self.send(rank)

    def greet(self, key):
        """Learns the rank of a process that `introduce`s itself.

        Raises:
            ValueError: if it says nothing; and what `multiprocessing` raises where it does not know the key.
        """
        if not self._connection.poll(_GREETING):
            raise ValueError("nothing was said")
        answer_challenge(self._connection, key)
        deliver_challenge(self._connection, key)
        self.rank = int(self.read())

    def send(self, message):
        """Sends what JSON can hold; to a process that is gone, nothing: whoever listens finds out."""
        with self._lock, contextlib.suppress(OSError):
            self._connection.send_bytes(json.dumps(message).encode())

    def read(self):
        """Returns the next message; an `EOFError` or `OSError` is the end."""
        return json.loads(self._connection.recv_bytes())


def end_process(code, why):
    """Ends this process at once with an exit code and a sentence, whatever its threads do."""
    print(f"{os.path.basename(sys.argv[0])}: {why}", file=sys.stderr)
    _leave(code)


def _leave(code):
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
