"""An HTTP client for OpenAI-style completions: one call at a time, or many streams at once, timed.

The streams share one thread and one event loop, so that the client takes as little as it can from the
cores the server computes on; both servers meet the same client.
"""

import asyncio
import dataclasses
import http.client
import json
import time

REQUEST_SECONDS_MAX = 1800


class ServerError(Exception):
    pass


def post(port: int, path: str, body: dict) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_SECONDS_MAX)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        if response.status != 200:
            raise ServerError(f"POST {path}: status {response.status}: {text[:500]}")
        return json.loads(text)
    finally:
        connection.close()


class Dechunker:
    """Undoes HTTP's chunked transfer coding (RFC 9112, section 7.1), fed with pieces of any size."""

    def __init__(self):
        self.buffer = b""
        self.remaining = 0  # bytes of the current chunk still to come, its line end included
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        self.buffer += data
        out = b""
        while not self.ended:
            if self.remaining == 0:
                size, found, rest = self.buffer.partition(b"\r\n")
                if not found:
                    break
                self.buffer = rest
                length = int(size.split(b";")[0], 16)
                self.ended = length == 0
                self.remaining = length + 2
            else:
                piece, self.buffer = self.buffer[: self.remaining], self.buffer[self.remaining :]
                if not piece:
                    break
                out += piece[: max(self.remaining - 2, 0)]
                self.remaining -= len(piece)
        return out


class EventParser:
    """Server-sent events: returns the data of each event that became whole."""

    def __init__(self):
        self.buffer = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


@dataclasses.dataclass
class StreamResult:
    first_s: float  # request sent → first token
    gaps_s: list[float]  # between one token and the next
    completion_tokens: int
    start: float
    end: float


async def stream(port: int, body: dict) -> StreamResult:
    payload = json.dumps(body | {"stream": True, "stream_options": {"include_usage": True}}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n"
    )
    start = time.monotonic()
    writer.write(head.encode() + payload)
    await writer.drain()
    try:
        header = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b" 200 " not in header.split(b"\r\n")[0]:
            raise ServerError(f"{header.decode()}{(await reader.read(2000)).decode(errors='replace')}")
        times, tokens = await read_events(reader, b"transfer-encoding: chunked" in header)
    finally:
        writer.close()
    if not times:
        raise ServerError("a stream ended without a token")
    gaps = [after - before for before, after in zip(times, times[1:])]
    return StreamResult(times[0] - start, gaps, tokens or len(times), start, times[-1])


async def read_events(reader: asyncio.StreamReader, chunked: bool) -> tuple[list[float], int]:
    """When each piece of text arrived, and the completion tokens the server counted (0: not told)."""
    dechunker = Dechunker() if chunked else None
    parser = EventParser()
    times, tokens = [], 0
    while data := await reader.read(65536):
        now = time.monotonic()
        for event in parser.feed(dechunker.feed(data) if dechunker else data):
            if event == b"[DONE]":
                return times, tokens
            value = json.loads(event)
            if "error" in value:
                raise ServerError(str(value["error"]))
            if any(choice.get("text") for choice in value.get("choices", [])):
                times.append(now)
            tokens = (value.get("usage") or {}).get("completion_tokens") or tokens
    return times, tokens


def streams(port: int, bodies: list[dict]) -> list[StreamResult]:
    """Sends all requests at once and reads them all to their ends."""

    async def all_of_them():
        return await asyncio.gather(*(stream(port, body) for body in bodies))

    return asyncio.run(all_of_them())
