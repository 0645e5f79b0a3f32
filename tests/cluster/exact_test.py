#!/usr/bin/env python3
"""A model is spread exactly: with F32 weights, where no activation is rounded to 8 bits, a tensor group writes
what one process writes. And the tool that makes such models of others."""

import os
import pathlib
import struct
import subprocess

from cluster import GREEDY, ClusterTest, exomesh, main
from program import MAKE_MODEL, SECONDS_MAX

DEQUANTIZE_MODEL = os.environ.get("EXOMESH_DEQUANTIZE_MODEL", "")
SHAPE = ("--embedding=256", "--ffn=512", "--layers=4", "--heads=8", "--kv-heads=4", "--vocab=512")
PROMPTS = ("one two three four five six seven", "The quick brown fox", "for (int i = 0; i < count; ++i)", "a")
# How far a value may be from the one it was quantized from: half a step of each type, with the scale's own
# rounding. Values are up to 1.74.
STEPS = {"f16": 0.001, "q8_0": 0.008, "q4_K": 0.22, "q4_0": 0.22}


def differences(one: bytes, other: bytes) -> list[float]:
    """Of the F32 values that differ, in files of the same layout."""
    pairs = zip(struct.iter_unpack("<f", one), struct.iter_unpack("<f", other))
    return [abs(a - b) for (a,), (b,) in pairs if a != b]


class ExactTest(ClusterTest):
    def make(self, kind: str) -> pathlib.Path:
        path = self.folder / f"{kind}.gguf"
        subprocess.run([MAKE_MODEL, path, "--type", kind, *SHAPE], check=True, timeout=SECONDS_MAX)
        return path

    def dequantize(self, source: pathlib.Path, target: pathlib.Path) -> subprocess.CompletedProcess:
        return subprocess.run([DEQUANTIZE_MODEL, source, target], capture_output=True, text=True,
                              timeout=SECONDS_MAX, check=False)  # fmt: skip

    def dequantized(self, kind: str) -> pathlib.Path:
        target = self.folder / f"{kind}-f32.gguf"
        self.succeeds(self.dequantize(self.make(kind), target))
        return target


class Dequantized(ExactTest):
    def test_an_f32_model_stays_byte_by_byte(self):
        made = self.make("f32")
        self.assertEqual(self.dequantized("f32").read_bytes(), made.read_bytes())

    def test_values_are_those_that_were_quantized(self):
        expected = self.make("f32").read_bytes()
        for kind, step in STEPS.items():
            with self.subTest(kind=kind):
                found = self.dequantized(kind).read_bytes()
                self.assertEqual(len(found), len(expected))
                self.assertEqual(found[:4096], expected[:4096])  # metadata
                far = differences(found, expected)
                self.assertGreater(len(far), len(found) // 4 // 2)
                self.assertLess(max(far), step)

    def test_what_cannot_be_read_or_written_is_told(self):
        made = self.make("q4_0")
        damaged = self.folder / "damaged.gguf"
        damaged.write_bytes(made.read_bytes()[:-100_000])
        for source, target, words in (
            (self.folder / "nowhere.gguf", self.folder / "out.gguf", "nowhere.gguf'.*No such file"),
            (damaged, self.folder / "out.gguf", "truncated"),
            (made, pathlib.Path("/dev/full"), "/dev/full'.*No space left"),
        ):
            with self.subTest(words=words):
                result = self.dequantize(source, target)
                self.assertEqual(result.returncode, 1)
                self.assertRegex(result.stderr, words)
                self.assertEqual(list(self.folder.glob("out.gguf*")), [])


class Spread(ExactTest):
    def text(self, model: pathlib.Path, prompt: str, *flags: str) -> str:
        result = exomesh("run", str(model), prompt, "--raw", *GREEDY, "--cache-type", "f32", "--max-tokens", "48",
                         *flags)  # fmt: skip
        self.succeeds(result)
        return result.stdout

    def test_says_what_one_process_says(self):
        model = self.dequantized("q4_0")
        for prompt in PROMPTS:
            alone = self.text(model, prompt)
            self.assertGreater(len(set(alone)), 10, alone)
            for flags in (("--local", "3"), ("--local", "4", "--split", "2x2"),
                          ("--local", "2", "--shares", "0.7,0.3")):  # fmt: skip
                with self.subTest(prompt=prompt, flags=flags):
                    self.assertEqual(self.text(model, prompt, "--wire", "f32", *flags), alone)


if __name__ == "__main__":
    main()
