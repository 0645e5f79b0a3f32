#!/usr/bin/env python3
"""What the scripts that fetch models, vocabularies and templates say and how they end when they cannot."""

import argparse
import contextlib
import errno
import importlib.util
import io
import pathlib
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

SOURCE = pathlib.Path(__file__).resolve().parents[2]


def load(path: str):
    """A script as a module; its neighbours may be named like those of another script."""
    file = SOURCE / path
    spec = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), file)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(sys, "path", [str(file.parent), *sys.path]):
        spec.loader.exec_module(module)
    return module


class FetchModel(unittest.TestCase):
    def setUp(self) -> None:
        self.script = load("tools/dev/fetch_model.py")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def failure(self, is_terminal: bool = False) -> str:
        arguments = ["fetch_model.py", "--cache", str(self.folder / "models"), "smollm2"]
        errors = mock.Mock(isatty=lambda: is_terminal)
        with mock.patch.object(sys, "argv", arguments), mock.patch.object(sys, "stderr", errors):
            with self.assertRaises(SystemExit) as raised:
                self.script.main()
        return str(raised.exception)

    def test_a_full_disk_is_no_traceback(self):
        full = OSError(errno.ENOSPC, "No space left on device")
        with mock.patch.object(self.script, "download", side_effect=full):
            self.assertRegex(self.failure(), "error: smollm2 could not be kept in .*No space left on device")

    def test_pip_that_is_missing_and_a_full_disk_are_not_blamed_on_the_index(self):
        with mock.patch.object(self.script.importlib.util, "find_spec", return_value=None):
            self.assertIn("has no pip", self.failure())
        failed = mock.patch.object(subprocess, "run", return_value=subprocess.CompletedProcess([], 1))
        with failed, mock.patch.object(self.script.shutil, "disk_usage", return_value=mock.Mock(free=0)):
            self.assertRegex(self.failure(), r"could not download .* \(status 1\)\. The disk of .* is full")
        with failed, mock.patch.object(self.script.shutil, "disk_usage", return_value=mock.Mock(free=1 << 40)):
            self.assertIn("Its own message is above", self.failure())

    def test_progress_is_shown_on_a_terminal_alone(self):
        for is_terminal in (True, False):
            done = subprocess.CompletedProcess([], 1)
            with mock.patch.object(subprocess, "run", return_value=done) as run:
                self.failure(is_terminal)
            self.assertEqual("--quiet" not in run.call_args.args[0], is_terminal)


class Tokenizers(unittest.TestCase):
    """How the comparison ends: 1 with any difference, 77 only where nothing could be compared."""

    def setUp(self) -> None:
        with mock.patch.object(sys, "dont_write_bytecode", True):
            self.script = load("tests/tokenizers/compare.py")

    def ends_with(self, outcomes: dict) -> int:
        """`outcomes`: a vocabulary's differences, or None where it cannot be had."""

        def compare(_, __, name, ___, tally):
            if outcomes[name] is None:
                raise self.script.Unavailable("no route")
            tally.compared += 1
            tally.differences += outcomes[name]

        arguments = argparse.Namespace(vocabularies=list(outcomes), count=1)
        with mock.patch.object(self.script, "compare", compare), contextlib.redirect_stdout(io.StringIO()):
            with mock.patch.object(self.script, "import_tokenizers", return_value=None):
                return self.script.compare_all(arguments, pathlib.Path("/nowhere"))

    def test_status(self):
        self.assertEqual(self.ends_with({"gpt2": 0, "llama3": 0}), 0)
        self.assertEqual(self.ends_with({"gpt2": 3, "llama3": None}), 1)
        self.assertEqual(self.ends_with({"gpt2": None, "llama3": 3}), 1)
        self.assertEqual(self.ends_with({"gpt2": 0, "llama3": None}), 0)
        self.assertEqual(self.ends_with({"gpt2": None, "llama3": None}), 77)

    def test_without_the_reference_nothing_is_compared(self):
        unavailable = self.script.Unavailable("pip")
        with mock.patch.object(self.script, "import_tokenizers", side_effect=unavailable):
            with contextlib.redirect_stdout(io.StringIO()):
                arguments = argparse.Namespace(vocabularies=["gpt2"], count=1)
                self.assertEqual(self.script.compare_all(arguments, pathlib.Path("/nowhere")), 77)


class Templates(unittest.TestCase):
    def test_a_few_templates_are_no_success(self):
        try:
            script = load("tests/templates/compare.py")
        except SystemExit:
            self.skipTest("python3-jinja2 is not installed")
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(script.status_of(count=1, different=0), 77)
            self.assertEqual(script.status_of(count=1, different=1), 1)
            self.assertEqual(script.status_of(count=script.TEMPLATES_MIN, different=0), 0)

    def test_reads_the_table_of_templates(self):
        packages = load("tests/templates/packages.py")
        table = """export const M = [
\t{
\t\tmodel: "library/phi3:3.8b",
\t\tgguf: "{% for m in messages %}\\n\\"{{ m }}\\" {% endfor %}",
\t\tollama: { template: "x" },
\t},
\t{ model: "library/other", gguf: "{{ x }}" },
"""
        self.assertEqual(packages.of_table(table, ["phi3:3.8b"]),
                         {"phi3:3.8b": '{% for m in messages %}\n"{{ m }}" {% endfor %}'})  # fmt: skip


if __name__ == "__main__":
    unittest.main()
