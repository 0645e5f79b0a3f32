"""Starts real clusters of processes on this machine for the tests beside it."""

import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "cli"))
import program  # noqa: E402
from program import BINARY, MODEL, SECONDS_MAX, ProgramTest, exomesh  # noqa: E402

os.environ["EXOMESH_CHECK_SUMS"] = "1"  # ranks must hold the same bits in every test

SKIPPED = 77  # as CTest is told
END_SECONDS_MAX = 2.0  # from a fault to the end of the head, on a machine that is not overloaded
PROMPT = "Write a story about a lighthouse keeper and a storm."
STORY_TOKENS = 450
# Goes on in one way only: rounding in another order changes no token.
SURE_PROMPT = "one two three four five six seven one two three four five six seven one two three four"
GREEDY = ("--device", "cpu", "--threads", "1", "--temperature", "0", "--weights", "exact", "--context", "512")


def children_of(pid: int) -> list[int]:
    """The processes that `pid` started, oldest first."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == pid and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return sorted(found)


def runs(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def runner_of(worker: "Process") -> int:
    """The process of `exomesh worker` that does the work."""
    (pid,) = children_of(worker.pid)
    return pid


class Lines:
    """What a process writes, read by a thread so that it never waits for us."""

    def __init__(self, stream):
        self.text = ""
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream) -> None:
        with stream:
            while block := os.read(stream.fileno(), 4096):
                self.text += block.decode("utf-8", "replace")

    def wait_for(self, words: str, seconds: float = program.SECONDS_MAX) -> re.Match:
        if not wait_until(lambda: re.search(words, self.text), seconds):
            raise AssertionError(f"no {words!r} in {self.text!r}")
        return re.search(words, self.text)

    def all(self) -> str:
        self._thread.join(10)
        return self.text


class Process:
    """A running `exomesh`; `before` is a command that starts it in some other place."""

    def __init__(self, *arguments: str, folder: pathlib.Path | None = None, before: list[str] | None = None,
                 keeps_stdin: bool = False, **environment: str):  # fmt: skip
        self.process = subprocess.Popen(
            [*(before or []), BINARY, *arguments],
            stdin=subprocess.PIPE if keeps_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            cwd=folder,
        )
        self.pid = self.process.pid
        self.out = Lines(self.process.stdout)
        self.errors = Lines(self.process.stderr)

    def say(self, line: str) -> None:
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def wait(self, seconds: float = program.SECONDS_MAX) -> int:
        return self.process.wait(seconds)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        if self.process.stdin:
            self.process.stdin.close()


class ClusterTest(ProgramTest):
    def setUp(self) -> None:
        super().setUp()
        self.homes = 0

    def start(self, *arguments: str, **options) -> Process:
        process = Process(*arguments, **options)
        self.addCleanup(process.kill)
        return process

    def serve(self, *arguments: str, model: str = MODEL, **environment: str) -> tuple[Process, str]:
        """`exomesh up`, and its address."""
        flags = [flag for flag in GREEDY if flag not in ("--temperature", "0")]
        head = self.start("up", "--model", model, "--port", "0", *flags, *arguments, **environment)
        return head, head.out.wait_for(r"(http://127\.0\.0\.1:\d+)\n")[1]

    def ask(self, url: str, tokens: int = 12) -> tuple[int, str]:
        """The status, and the text or the error."""
        body = {"prompt": SURE_PROMPT, "max_tokens": tokens, "temperature": 0}
        request = urllib.request.Request(
            url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS_MAX) as response:
                return response.status, json.load(response)["choices"][0]["text"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["error"]["message"]

    def new_home(self) -> dict[str, str]:
        """The environment of a device of its own: an identity that is nobody else's."""
        self.homes += 1
        folder = self.folder / f"device{self.homes}"
        folder.mkdir()
        return {"EXOMESH_STATE": str(folder)}

    def identity(self, home: dict[str, str]) -> str:
        result = exomesh("worker", "--show-identity", **home)
        self.succeeds(result)
        return result.stdout.strip()

    def start_worker(
        self, *allowed: str, folder: pathlib.Path | None = None, models: tuple[str, ...] = ()
    ) -> tuple[Process, str]:
        """A worker on a device of its own, and its address for --peers."""
        where = [word for path in models for word in ("--model", path)]
        worker = self.start("worker", "--listen", "127.0.0.1:0", "--allow", ",".join(allowed), *where, folder=folder,
                            **self.new_home())  # fmt: skip
        found = worker.out.wait_for(r"worker listens on (\S+)\n")
        return worker, found[1]

    def start_story(self, *arguments: str, **environment: str) -> Process:
        """Begins a text that is longer than any test waits for."""
        return self.start("run", MODEL, PROMPT, *GREEDY, "--max-tokens", str(STORY_TOKENS), "--stop", "\x01",
                          *arguments, **environment)  # fmt: skip

    def story(self, *arguments: str, **environment: str) -> str:
        """The whole of it, where nobody disturbs."""
        head = self.start_story(*arguments, **environment)
        self.assertEqual(head.wait(), 0, head.errors.all())
        return head.out.all().rstrip("\n")

    def says_nothing_wrong(self, head: Process, story: str) -> None:
        """What was said before the end is how the whole text begins."""
        said = head.out.all().rstrip("\n")
        self.assertGreater(len(said), 0)
        self.assertTrue(story.startswith(said), f"{said!r} does not begin {story!r}")

    def answer(self, *arguments: str, tokens: int = 24, **environment: str) -> str:
        result = exomesh("run", MODEL, SURE_PROMPT, "--raw", *GREEDY, "--max-tokens", str(tokens), *arguments,
                         **environment)  # fmt: skip
        self.succeeds(result)
        return result.stdout


def main() -> None:
    """Runs a file's tests. Where all of them were skipped, that is no success."""
    result = unittest.main(module="__main__", verbosity=2, exit=False).result
    if result.wasSuccessful() and len(result.skipped) >= max(result.testsRun, 1):
        sys.exit(SKIPPED)
    sys.exit(0 if result.wasSuccessful() else 1)
