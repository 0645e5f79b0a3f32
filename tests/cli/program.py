"""Starts the real program for the tests of its command line."""

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import unittest

BINARY = os.environ.get("EXOMESH_BINARY", "")
MODEL = os.environ.get("EXOMESH_TEST_MODEL_SMOLLM2", "")
MAKE_MODEL = os.environ.get("EXOMESH_MAKE_MODEL", "")
BASE_MODEL = os.environ.get("EXOMESH_TEST_MODEL_GEMMA3", "")
SECONDS_MAX = 240  # sanitizers on a busy machine are slow

# As the exit codes stand in `exomesh --help`.
DONE, FAILED, USAGE, NOT_FOUND, CORRUPT, UNSUPPORTED, EXHAUSTED, UNAVAILABLE = 0, 1, 2, 3, 4, 5, 6, 7
INTERRUPTED, TERMINATED = 130, 143


def tell_sanitizer(option: str, *names: str) -> None:
    """Adds to what the sanitizers of later programs are told; each reads the variable of its name."""
    for name in names:
        os.environ[name] = ":".join(filter(None, (os.environ.get(name), option)))


def exomesh(*arguments: str, text_in: str = "", **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [BINARY, *arguments],
        input=text_in,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS_MAX,
        env={**os.environ, **environment},
        check=False,
    )


def start(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen([BINARY, *arguments], **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options})


def greedy(prompt: str, *arguments: str, max_tokens: int = 24) -> subprocess.CompletedProcess:
    fixed = ("--device", "cpu", "--temperature", "0", "--max-tokens", str(max_tokens))
    return exomesh("run", MODEL, prompt, *fixed, *arguments)


@unittest.skipUnless(BINARY and MODEL, "set EXOMESH_BINARY and EXOMESH_TEST_MODEL_SMOLLM2 (./dev test does)")
class ProgramTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def synthetic_model(self, **shape: int) -> str:
        """A model with random weights; `shape` has the options of tests/tools/make_model.cpp."""
        if not MAKE_MODEL:
            self.skipTest("set EXOMESH_MAKE_MODEL")
        shape = {"embedding": 256, "ffn": 512, "layers": 2, "heads": 4, "kv_heads": 2, "vocab": 512, **shape}
        options = [f"--{name.replace('_', '-')}={value}" for name, value in shape.items()]
        path = str(self.folder / "synthetic.gguf")
        subprocess.run([MAKE_MODEL, path, "--type", "q4_0", *options], check=True, timeout=SECONDS_MAX)
        return path

    def end(self, process: subprocess.Popen, number: int = signal.SIGTERM) -> tuple[bytes, bytes]:
        """Signals the process, and gives what it still wrote once it has ended."""
        process.send_signal(number)
        return process.communicate(timeout=SECONDS_MAX)

    def succeeds(self, result: subprocess.CompletedProcess) -> None:
        self.assertEqual(result.returncode, DONE, result.stderr)

    def fails(self, result: subprocess.CompletedProcess, code: int, words: str) -> None:
        """One clear line on stderr, nothing on stdout, the documented code."""
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(result.stdout, "")
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertTrue(lines[0].startswith("error: "), lines[0])
        self.assertRegex(lines[0], re.compile(words, re.IGNORECASE))
