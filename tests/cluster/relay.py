"""Somebody on the way to a worker: passes bytes on, keeps them, and meddles with them on request."""

import contextlib
import socket
import threading
from collections.abc import Callable

BLOCK_BYTES = 1 << 16
# What bytes from a head to the worker become.
Meddle = Callable[[bytes], bytes]


class Relay:
    """Listens on a port of its own in front of the worker at `port`."""

    def __init__(self, port: int):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.recorded: list[bytearray] = []  # for each connection what its head said
        self._meddle: Meddle | None = None
        self._is_holding = threading.Event()
        self._is_over = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def address(self, worker_address: str) -> str:
        """The worker's own address, with the relay's port."""
        return f"127.0.0.1:{self.port}/{worker_address.split('/')[1]}"

    def meddle_once(self, meddle: Meddle) -> None:
        """Does this to the next block that a head sends on any connection."""
        self._meddle = meddle

    def hold(self) -> None:
        """Passes on nothing more, in either direction, and closes nothing: as a pulled cable does."""
        self._is_holding.set()

    def cut(self) -> None:
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._is_over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)
        for pair in self._pairs:
            for end in pair:
                end.close()

    def _accept(self) -> None:
        while not self._is_over.is_set():
            try:
                head, _ = self._listener.accept()
                worker = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                continue
            for end in (head, worker):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs.append((head, worker))
            record = bytearray()
            self.recorded.append(record)
            for arguments in ((head, worker, record), (worker, head, None)):
                self._threads.append(threading.Thread(target=self._pass, args=arguments, daemon=True))
                self._threads[-1].start()

    def _pass(self, source: socket.socket, target: socket.socket, record: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(BLOCK_BYTES):
                if record is not None:
                    record += block
                    if meddle := self._meddle:
                        self._meddle = None
                        block = meddle(block)
                if self._is_holding.is_set():
                    self._is_over.wait()
                    break
                target.sendall(block)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
