#!/usr/bin/env python3
"""Workers whose model file is not the head's: they are found out, and one that is lost ends alone."""

import os
import pathlib
import shutil
import signal
import time
import unittest

import sharing_test
from cluster import END_SECONDS_MAX, GREEDY, PROMPT, Process
from program import MODEL, UNAVAILABLE, USAGE, tell_sanitizer

# They would end the program another way than without them.
tell_sanitizer("handle_sigbus=0", "ASAN_OPTIONS", "TSAN_OPTIONS")


class OtherModels(sharing_test.SharingTest):
    def start_worker_with(self, model: pathlib.Path) -> tuple[Process, str]:
        worker = self.start("worker", "--listen", "127.0.0.1:0", "--allow", self.heads[0], "--model", str(model),
                            **self.new_home())  # fmt: skip
        return worker, worker.out.wait_for(r"worker listens on (\S+)\n")[1]

    def copy(self, name: str) -> pathlib.Path:
        return pathlib.Path(shutil.copy(MODEL, self.folder / name))

    @staticmethod
    def flip(path: pathlib.Path, offset: int) -> None:
        """One bit of the byte at `offset`; before the end if below 0."""
        with path.open("r+b") as file:
            file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))

    def test_one_bit_of_the_weights(self):
        model = self.copy("weights.gguf")
        worker, address = self.start_worker_with(model)
        self.answers(0, address)  # a copy will do
        for offset in (-1, os.path.getsize(model) // 2):
            with self.subTest(offset=offset):
                self.flip(model, offset)
                self.fails_with(USAGE, "rank 1: .*other weights", 0, address)
                self.flip(model, offset)
        self.answers(0, address)
        self.assertIsNone(worker.process.poll())

    def test_one_bit_of_the_index(self):
        model = self.copy("index.gguf")
        name = b"blk.0.attn_norm.weight"
        self.flip(model, model.read_bytes()[: 1 << 24].index(name) + len(name) - 1)
        _, address = self.start_worker_with(model)
        # It is passed over for the head's own file, which lies where the head says on this machine.
        self.assertEqual(self.answer("--peers", address, "--wire", "f32", **self.homes_of_heads[0]), self.answer())

    def test_a_file_cut_short_while_it_is_used(self):
        model = self.copy("short.gguf")
        worker, address = self.start_worker_with(model)
        head = self.start_answering(0, address)
        os.truncate(model, 4096)
        begin = time.monotonic()
        self.assertEqual(head.wait(), UNAVAILABLE, head.errors.all())
        self.assertLess(time.monotonic() - begin, END_SECONDS_MAX)
        self.assertRegex(head.errors.all(), r"error: rank 1 \(")
        worker.errors.wait_for(rf"the runner ended with signal {int(signal.SIGBUS)} \(.*; starting it again", 5)


if __name__ == "__main__":
    unittest.main(verbosity=2)
