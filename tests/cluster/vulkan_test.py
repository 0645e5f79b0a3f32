#!/usr/bin/env python3
"""CPU and GPU in one cluster, with Mesa's software GPU where there is no other: the text is the CPU's."""

import os

from cluster import ClusterTest, main
from program import NOT_FOUND, exomesh, tell_sanitizer

# Mesa's driver leaks what it is loaded with; other tests look for leaks of ours.
tell_sanitizer("detect_leaks=0", "ASAN_OPTIONS")
TOKENS = 8  # a software GPU is slow
# It would take longer than the tests; what is compared here is a stronger one.
UNTESTED = {"EXOMESH_SELF_TEST": "off", "GGML_VK_VISIBLE_DEVICES": os.environ.get("GGML_VK_VISIBLE_DEVICES", "0")}


class Vulkan(ClusterTest):
    def setUp(self) -> None:
        super().setUp()
        tried = exomesh("run", self.synthetic_model(), "a", "--raw", "--max-tokens", "1", "--device", "vulkan0",
                        **UNTESTED)  # fmt: skip
        if tried.returncode == NOT_FOUND:
            self.skipTest(tried.stderr.strip())
        self.succeeds(tried)

    def test_texts_are_those_of_the_cpu(self):
        alone = self.answer(tokens=TOKENS)
        for split in (
            "0-29:vulkan0",  # one rank: is it the device or the split?
            "0-29:cpu+vulkan0",
            "0-14:cpu 15-29:vulkan0",
            "0-14:vulkan0 15-29:cpu",
            "0-29:vulkan0+vulkan0",  # two processes on one GPU
            "0-14:vulkan0 15-29:vulkan0",
        ):
            with self.subTest(split=split):
                self.assertEqual(self.answer("--split", split, "--wire", "f32", tokens=TOKENS, **UNTESTED), alone)


if __name__ == "__main__":
    main()
