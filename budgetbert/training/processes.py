"""Several processes of one run: what the first of them decides holds for all, and none goes on when one is lost.

They talk over TCP connections of their own, not through collectives: the host decides between the calls that the
devices compute, and must neither wait for a device nor hang with it. A connection also breaks within a moment when its
process dies, whatever the backend makes of that.
"""

import atexit
import contextlib
import hmac
import json
import os
import queue
import secrets
import socket
import sys
import threading
import time

from budgetbert.budget import BudgetClock
from budgetbert.command_line import InputError, TrainingError

_PATIENCE = 60  # seconds for the connections, once the backend has brought the processes together
_COMPLAINTS = 10  # seconds in which a lost process is noticed when a backend has already complained about it


class Processes:
    """A run of one process, which decides and writes by itself.

    Attributes:
        rank: int.
        count: int.
        first: bool. Whether this process decides and writes.
        last_acts: list of functions of a sentence, called before a run ends because of another process.
    """

    rank, count, first = 0, 1, True

    def __init__(self):
        self.last_acts = []

    def tell(self, value):
        """Returns the first process's `value`, which JSON can hold, in all of them; all must call it in step."""
        return value

    def total(self, number):
        """Returns, in the first process, the sum of all processes' numbers; all must call it in step."""
        return number

    def signal(self, name):
        """Returns the signal that any of the processes got, or `None`, in all of them; all must call it in step.

        Args:
            name: str or `None`. The signal that this process got.
        """
        return name

    def clock(self, clock):
        """Returns the `BudgetClock` that all processes read alike, of one that just started; call it in step."""
        return clock

    def wait_for_first(self):
        """Holds the other processes here until the first has passed `first_is_through`."""

    def first_is_through(self):
        """See `wait_for_first`."""


class LinkedProcesses(Processes):
    """The processes of a run that has several, each connected to the first; a context.

    Left with an error it ends the others, with the exit code that follows from the error. A process that is lost ends
    all others with code 1 and one sentence, from a thread: their main threads may be held in a collective for good.

    Args:
        place: `Place`.
        broadcast: function of a list of integers below 2^31 that returns those of process 0, by way of the backend.

    Raises:
        TrainingError: if the processes cannot be connected.
    """

    def __init__(self, place, broadcast):
        super().__init__()
        self.rank, self.count, self.first = place.rank, place.count, place.rank == 0
        self._now = 0.0
        self._signal = None
        self._through = False
        self._ending = threading.Lock()
        self._connect(place.host, broadcast)
        for peer in self._peers:
            threading.Thread(target=self._listen, args=(peer,), name="link", daemon=True).start()

    def _connect(self, host, broadcast):
        server = None
        if self.first:
            dual = socket.has_dualstack_ipv6()
            server = socket.create_server(
                ("", 0), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual, backlog=self.count
            )
        # whoever else finds the port does not know the numbers
        port, *token = broadcast([server.getsockname()[1] if server else 0, *(secrets.randbits(31) for _ in range(4))])
        token = " ".join(map(str, token))
        try:
            if self.first:
                self._peers = self._accept(server, token)
            else:
                self._peers = [_Peer(0, socket.create_connection((host, port), timeout=_PATIENCE))]
                self._peers[0].send({"rank": self.rank, "token": token})
        except OSError as error:
            raise TrainingError(
                f"process {self.rank} of {self.count} has no connection to "
                f"{'the others' if self.first else f'{host}:{port}'} ({error}): open the ports between the machines."
            ) from error

    def _accept(self, server, token):
        peers, deadline = {}, time.monotonic() + _PATIENCE
        with server:
            while len(peers) < self.count - 1:
                server.settimeout(max(0.01, deadline - time.monotonic()))
                connection, _ = server.accept()
                peer = _Peer(None, connection)
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    hello = peer.read()
                    if hmac.compare_digest(hello["token"], token):
                        peer.rank = int(hello["rank"])
                        peers[peer.rank] = peer
        return [peers[rank] for rank in sorted(peers)]

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None:
            self._finish()
        elif self._through:
            self._send({"done": True})
        else:
            self._fail(error)

    def tell(self, value):
        if self.first:
            self._now = time.monotonic()
            self._send({"value": value, "now": self._now})
            return json.loads(json.dumps(value))  # as the others get it
        message = self._peers[0].inbox.get()
        if message is None:
            self._through = True
            raise SystemExit(0)  # the first process is done, and nothing is left to do
        self._now = message["now"]
        return message["value"]

    def total(self, number):
        if not self.first:
            self._send({"number": number})
            return number
        return number + sum(peer.inbox.get() for peer in self._peers)

    def signal(self, name):
        if name and not self.first and name != self._signal:
            self._signal = name
            self._send({"signal": name})
        return self.tell(name or self._signal)

    def clock(self, clock):
        return BudgetClock(clock.budget, self.tell(clock.seconds), now=lambda: self._now)

    def wait_for_first(self):
        if not self.first:
            self.tell(None)

    def first_is_through(self):
        if self.first:
            self.tell(None)

    def _send(self, message):
        for peer in self._peers:
            peer.send(message)

    def _finish(self):
        """Leaves together, so that none seems lost to the others and the backend's own farewell finds all."""
        self._through = True
        self._send({"done": True})
        for peer in self._peers:
            peer.done.wait()

    def _fail(self, error):
        code = error.code if isinstance(error, SystemExit) else 2 if isinstance(error, InputError) else 1
        told = isinstance(error, InputError | TrainingError)
        why = str(error) if told else f"process {self.rank} of {self.count} ended ({type(error).__name__})."
        if not told and not isinstance(error, SystemExit | KeyboardInterrupt):
            time.sleep(_COMPLAINTS)  # the error may be how the backend says that another process is lost
        self._ending.acquire()  # for good; where a thread has it, that thread ends the process
        self._send({"ended": code, "why": why})
        # the backend's farewell, registered before this, would wait for those that are ending
        atexit.register(_leave, code)

    def _listen(self, peer):
        try:
            while message := peer.read():
                self._receive(peer, message)
        except (OSError, ValueError):
            pass  # a broken connection or half a line is an end as well
        if not peer.done.is_set():
            peer.done.set()
            if not (self._through and self.first):  # the result is written, nothing is lost by it
                why = f"process {peer.rank} of {self.count} was lost: the same commands go on from the last checkpoint."
                self._end(1, why)

    def _receive(self, peer, message):
        if "value" in message:
            peer.inbox.put(message)
        elif "number" in message:
            peer.inbox.put(message["number"])
        elif "signal" in message:
            self._signal = self._signal or message["signal"]
        elif "done" in message:
            peer.done.set()
            peer.inbox.put(None)
        elif "ended" in message:
            peer.done.set()
            self._end(message["ended"], message["why"])

    def _end(self, code, why):
        """Ends this process, and the others if it is the first; from a thread, whatever the main thread is held by."""
        self._ending.acquire()
        if self.first:
            self._send({"ended": code, "why": why})
        for act in self.last_acts:
            act(why)
        end_process(code, why)


class _Peer:
    """The connection to another process, a JSON object a line."""

    def __init__(self, rank, connection):
        self.rank = rank
        self.inbox = queue.SimpleQueue()
        self.done = threading.Event()
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # a machine that is gone, or a broken network, ends the connection after a minute (Linux; seconds, count, ms)
        for name, value in (
            *(("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 3)),
            ("TCP_USER_TIMEOUT", 60_000),
        ):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._connection = connection
        self._lines = connection.makefile("r", encoding="utf-8")
        self._lock = threading.Lock()

    def send(self, message):
        """Sends a dict; to a process that is gone, nothing: whoever listens finds out."""
        with self._lock, contextlib.suppress(OSError):
            self._connection.sendall((json.dumps(message) + "\n").encode())

    def read(self):
        """Returns the next dict, `None` at the end."""
        line = self._lines.readline()
        return json.loads(line) if line else None


def end_process(code, why):
    """Ends this process at once with an exit code and a sentence, whatever its threads do."""
    print(f"{os.path.basename(sys.argv[0])}: {why}", file=sys.stderr)
    _leave(code)


def _leave(code):
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
