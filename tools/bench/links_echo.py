"""Small TCP messages and their answers between two hosts of the link emulator."""

import socket
import threading
import time


def answer(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(4096):
            connection.sendall(data)


def echo_us(net, count: int, size_bytes: int = 600) -> list[float]:
    """Round trips between host 0 and 1."""
    listener = net.call(1, socket.create_server, (net.address(1), 0))
    answerer = threading.Thread(target=answer, args=(listener,))
    answerer.start()
    found = []
    with listener, net.call(0, socket.create_connection, listener.getsockname()) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        message = bytes(size_bytes)
        for _ in range(count):
            begin = time.perf_counter_ns()
            connection.sendall(message)
            left = size_bytes
            while left:
                left -= len(connection.recv(left))
            found.append((time.perf_counter_ns() - begin) / 1000)
        connection.shutdown(socket.SHUT_WR)
        answerer.join()
    return found
