#!/usr/bin/env python3
"""Wrong command lines and damaged files: one clear error and the documented exit code each."""

import ctypes
import os
import pathlib
import pty
import signal
import subprocess
import unittest

import program
from program import (
    CORRUPT, DONE, EXHAUSTED, FAILED, MODEL, NOT_FOUND, UNSUPPORTED, USAGE, ProgramTest, exomesh, greedy, start,
)  # fmt: skip


class CommandLine(ProgramTest):
    def test_nothing_shows_the_help(self):
        result = exomesh()
        self.assertEqual(result.returncode, USAGE)
        self.assertIn("models", result.stderr)

    def test_help_names_the_exit_codes(self):
        result = exomesh("--help")
        self.succeeds(result)
        self.assertIn("Exit codes: 0 done", result.stdout)
        for command in ("chat", "worker", "up"):
            self.assertIn("Exit codes: 0 done", exomesh(command, "--help").stdout)
        for command in ("run", "chat", "up", "models", "bench", "doctor", "version"):
            self.assertIn(command, result.stdout)
            self.succeeds(exomesh(command, "--help"))

    def test_unknown_words_get_a_suggestion(self):
        self.fails(exomesh("rnu"), USAGE, "unknown command 'rnu'. did you mean 'run'")
        self.fails(exomesh("run", MODEL, "x", "--temprature", "0"), USAGE, "did you mean '--temperature'")
        self.fails(exomesh("models", "--jsn"), USAGE, "did you mean '--json'")
        self.fails(exomesh("zzzzzz"), USAGE, "unknown command 'zzzzzz'")

    def test_values_out_of_range(self):
        for option, value in (
            ("--temperature", "-1"),
            ("--temperature", "nan"),
            ("--temperature", "hot"),
            ("--top-p", "1.5"),
            ("--threads", "100000"),
            ("--threads", "-1"),
            ("--cache-type", "q2"),
            ("--max-tokens", "-5"),
        ):
            with self.subTest(option=option, value=value):
                self.fails(exomesh("run", MODEL, "x", option, value), USAGE, option)

    def test_missing_arguments(self):
        self.fails(exomesh("run"), USAGE, "model is required")
        self.fails(exomesh("trace", MODEL, "x", "-o", "-"), USAGE, "name a file for the trace")
        for origin in ("foo", "https://", "https://chat.example/", "://x"):
            self.fails(exomesh("up", MODEL, "--allow-origin", origin), USAGE, "is no origin")
        for origin in ("*", "https://chat.example:8080", "tauri://localhost"):  # no such model, but that is all
            self.fails(exomesh("up", "no-such.gguf", "--allow-origin", origin), NOT_FOUND, "no-such.gguf")
        self.fails(exomesh("up"), USAGE, "required")
        self.fails(exomesh("run", MODEL, ""), USAGE, "prompt is empty")
        self.fails(exomesh("run", MODEL, text_in=""), USAGE, "prompt is empty")

    def test_a_prompt_longer_than_the_context(self):
        self.fails(greedy("word " * 200, "--context", "64"), USAGE, "--context")

    def test_values_that_are_none(self):
        self.fails(exomesh("run", MODEL, "x", "--max-tokens", "-1"), USAGE, "--max-tokens takes no '-1'")

    def test_bench_names_a_wrong_model_before_it_measures(self):
        result = exomesh("bench", "-m", MODEL, "-m", "nosuch", "-p", "8", "-n", "1", "-r", "1")
        self.fails(result, NOT_FOUND, "nosuch")
        self.assertEqual(result.stdout, "")

    def test_the_same_worker_twice(self):
        peer = "127.0.0.1:9/12D3KooWStQpmoy289yZfNL9n1J3uBq4LA7mw2KSrsE7d85Vjw93"
        self.fails(exomesh("run", MODEL, "x", f"--peers={peer},{peer}"), USAGE, "is named twice")

    def test_what_is_for_several_ranks(self):
        for option in ("--overlap=on", "--wire=f16", "--cluster-figures", "--check-sums"):
            with self.subTest(option=option):
                self.fails(exomesh("run", MODEL, "x", option), USAGE, "are for several ranks.*--local")

    def test_no_place_for_a_key(self):
        nowhere = {"HOME": "", "XDG_STATE_HOME": "", "EXOMESH_STATE": ""}
        self.fails(exomesh("worker", "--show-identity", **nowhere), USAGE, "Set HOME.*XDG_STATE_HOME")

    def test_unknown_device(self):
        self.fails(exomesh("run", MODEL, "x", "--device", "gpu77"), NOT_FOUND, "gpu77")

    def test_a_context_no_memory_holds(self):
        # 16 layers with 32 heads of 128 values make 1 MiB per token: 8 TiB.
        length = 8 << 20
        model = self.synthetic_model(context=length, layers=16, heads=32, kv_heads=32, head_length=128, ffn=256)
        result = exomesh("run", model, "x", "--raw", "--device", "cpu", "--context", str(length))
        self.fails(result, EXHAUSTED, "memory")

    def test_a_context_beyond_the_trained_one(self):
        self.fails(greedy("x", "--context", "100000000"), USAGE, "trained for a context")


class Files(ProgramTest):
    def damaged(self, change) -> str:
        content = bytearray(pathlib.Path(MODEL).read_bytes())
        path = self.folder / "damaged.gguf"
        path.write_bytes(change(content))
        return str(path)

    def test_what_is_no_model(self):
        (self.folder / "text.gguf").write_text("This is no model.")
        (self.folder / "empty.gguf").touch()
        self.fails(exomesh("run", "/nonexistent/a.gguf", "x"), NOT_FOUND, "no file '/nonexistent/a.gguf'")
        self.fails(exomesh("run", "smolm2", "x"), NOT_FOUND, "did you mean 'smollm2'")
        self.fails(exomesh("run", str(self.folder), "x"), USAGE, "is a folder")
        self.fails(exomesh("run", str(self.folder / "text.gguf"), "x"), CORRUPT, "text.gguf")
        self.fails(exomesh("run", str(self.folder / "empty.gguf"), "x"), CORRUPT, "empty.gguf")
        self.assertNotEqual(exomesh("run", "/dev/null", "x").returncode, DONE)

    def test_truncated_files(self):
        size = pathlib.Path(MODEL).stat().st_size
        for kept in (3, 24, 4096, 1 << 20, size // 2, size - 1):
            with self.subTest(kept=kept):
                path = self.damaged(lambda content, kept=kept: content[:kept])
                self.fails(exomesh("run", path, "x", "--device", "cpu"), CORRUPT, "damaged.gguf")
                self.fails(exomesh("models", path), CORRUPT, "damaged.gguf")

    def test_flipped_bits_in_the_header(self):
        # The vocabulary may differ in one character and still be one: what counts is that nothing
        # crashes, and that an error is one clear line.
        for position in (0, 4, 8, 16, 24, 33, 40, 60, 100, 300, 500, 1000):
            with self.subTest(position=position):
                def flip(content, position=position):
                    content[position] ^= 0x40
                    return content

                result = exomesh("models", self.damaged(flip))
                self.assertIn(result.returncode, (DONE, USAGE, CORRUPT, UNSUPPORTED), result.stderr)
                if result.returncode != DONE:
                    self.fails(result, result.returncode, "damaged.gguf")

    def with_bytes(self, old: bytes, new: bytes, behind: bytes = b"") -> str:
        """The model with the first `old` behind `behind` replaced by `new` of the same length."""
        self.assertEqual(len(old), len(new))

        def replace(content):
            at = content.index(old, content.index(behind))
            return content[:at] + new + content[at + len(old):]

        return self.damaged(replace)

    def test_a_template_that_speaks_to_the_terminal(self):
        template = b"{{ raise_exception('a\x1b[31mb') }}"
        path = self.with_template(template)
        result = exomesh("run", path, "x", "--device", "cpu")
        self.assertNotEqual(result.returncode, DONE)
        self.assertNotIn("\x1b[31m", result.stderr)
        self.assertRegex(result.stderr, r"chat template, line 1: a\?\[31mb")

    def with_template(self, template: bytes) -> str:
        """The model with another template of the same length, blanks at its end."""
        key = b"tokenizer.chat_template"

        def replace(content):
            at = content.index(key) + len(key) + 4  # behind the type of the value
            length = int.from_bytes(content[at : at + 8], "little")
            text = template.ljust(length)
            return content[: at + 8] + text + content[at + 8 + length :]

        return self.damaged(replace)

    def test_families_and_types_nobody_knows(self):
        family = self.with_bytes(b"llama", b"zlama", b"general.architecture")
        self.fails(exomesh("run", family, "x"), UNSUPPORTED, "family 'zlama' .*llama, qwen2")
        dimensions = (2).to_bytes(4, "little") + (576).to_bytes(8, "little") + (49152).to_bytes(8, "little")
        entry = b"token_embd.weight" + dimensions
        of_type = self.with_bytes(entry + b"\x08\0\0\0", entry + b"\x63\0\0\0")
        self.fails(exomesh("run", of_type, "x"), UNSUPPORTED, "'token_embd.weight' .*number 99")

    def test_templates_that_fail(self):
        broken = self.with_bytes(b"{% for", b"{% fur", b"tokenizer.chat_template")
        self.fails(exomesh("run", broken, "x", "--device", "cpu"), UNSUPPORTED, "`fur`.*--raw")
        self.fails(exomesh("chat", broken, "--device", "cpu", text_in="x\n"), UNSUPPORTED, "`fur`")
        result = exomesh("run", broken, "x", "--device", "cpu", "--raw", "--max-tokens", "1")
        self.succeeds(result)
        fails_late = self.with_bytes(b"message['role']", b"message.oops( )", b"tokenizer.chat_template")
        self.fails(exomesh("run", fails_late, "x", "--device", "cpu"), USAGE, "no attribute `oops`")

    def on_full_disk(self, *arguments: str) -> subprocess.CompletedProcess:
        """Runs the program with a home folder in which not one byte is left."""

        def fill_home():  # in the child, which gets mounts of its own
            os.unshare(os.CLONE_NEWNS)
            libc = ctypes.CDLL(None, use_errno=True)
            recursive, private = 1 << 14, 1 << 18
            libc.mount(None, b"/", None, recursive | private, None)  # in a chroot they are that already
            if libc.mount(b"none", os.fsencode(self.folder), b"tmpfs", 0, b"size=4k") != 0:
                raise OSError(ctypes.get_errno(), "mount")
            (self.folder / "full").write_bytes(b"x" * 4096)

        environment = {**os.environ, "HOME": str(self.folder)}
        for variable in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "EXOMESH_CACHE", "EXOMESH_MODELS"):
            environment.pop(variable, None)
        try:
            return subprocess.run(
                [program.BINARY, *arguments], capture_output=True, encoding="utf-8", env=environment,
                timeout=program.SECONDS_MAX, preexec_fn=fill_home, check=False,
            )  # fmt: skip
        except subprocess.SubprocessError:
            self.skipTest("needs the right to mount")

    def test_a_full_disk_costs_no_answer(self):
        self.succeeds(self.on_full_disk("run", MODEL, "x", "--device", "cpu", "--max-tokens", "1"))
        self.succeeds(self.on_full_disk("doctor", "--no-benchmark"))
        # An identity that could not be kept would be another one next time.
        self.fails(self.on_full_disk("worker", "--show-identity"), FAILED, "No space left on device")

    def test_an_answer_nobody_can_keep(self):
        for command in (["run", MODEL, "x", "--device", "cpu", "--max-tokens", "4"], ["--help"], ["--version"]):
            with open("/dev/full", "w", encoding="utf-8") as full:
                process = subprocess.run(
                    [program.BINARY, *command], stdout=full, stderr=subprocess.PIPE, encoding="utf-8",
                    timeout=program.SECONDS_MAX, check=False,
                )  # fmt: skip
            self.assertEqual(process.returncode, FAILED)
            self.assertIn("error: the output cannot be written: No space left on device.", process.stderr)

    def test_kill_while_loading_leaves_nothing_behind(self):
        # A self-test would keep its result.
        environment = {**os.environ, "TMPDIR": str(self.folder), "HOME": str(self.folder), "EXOMESH_SELF_TEST": "off"}
        for variable in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "EXOMESH_CACHE", "EXOMESH_MODELS"):
            environment.pop(variable, None)
        command = ("run", MODEL, "x", "--device", "cpu", "--max-tokens", "1")
        for _ in range(3):
            shown = self.kill_at_first_progress(*command, cwd=self.folder, env=environment)
            self.assertRegex(shown, rb"load .* [0-9]+ %")
            self.assertNotIn(b"100 %", shown)
            self.assertEqual(list(self.folder.iterdir()), [])
        again = start(*command, cwd=self.folder, env=environment)
        _, notes = again.communicate(timeout=program.SECONDS_MAX)
        self.assertEqual(again.returncode, DONE, notes)

    def kill_at_first_progress(self, *command: str, **options) -> bytes:
        """Only a terminal is shown progress; what it was shown in all."""
        terminal, stderr = pty.openpty()
        process = start(*command, stderr=stderr, **options)
        os.close(stderr)
        shown = b""
        with open(terminal, "rb", buffering=0) as screen:
            while b"%" not in shown:
                shown += screen.read(4096)  # an OSError where the program ends before
            process.kill()
            process.communicate()
            try:
                shown += screen.read(4096)
            except OSError:  # nothing more
                pass
        self.assertEqual(process.returncode, -signal.SIGKILL)
        return shown


if __name__ == "__main__":
    unittest.main()
