#!/usr/bin/env python3
"""The parts of ./dev that need no root: where it builds, and what it says when a step fails."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "tools/dev"
PRELUDE = f"set -euo pipefail\nCACHE_DIR=$HOME\n. {SCRIPTS}/say.sh\n. {SCRIPTS}/root.sh\n"


class Scripts(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def tool(self, name: str, body: str) -> None:
        """Stands for a program of the host."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def start(self, script: str) -> subprocess.Popen:
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", "HOME": str(self.folder)}
        return subprocess.Popen(["bash", "-c", PRELUDE + script], text=True, env=environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip

    def bash(self, script: str) -> subprocess.CompletedProcess:
        process = self.start(script)
        out, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(script, process.returncode, out, errors)


class Platform(Scripts):
    def test_a_host_without_ggml_is_not_built_on(self):
        for candidate, status, code in (("(none)", 1, 1), ("0.9.4-1~bpo13+1", 1, 0), ("(none)", 0, 0)):
            self.tool("apt-cache", f'echo "  Candidate: {candidate}"')
            self.tool("dpkg-query", f"echo 'install ok installed'; exit {status}" if status == 0 else "exit 1")
            with self.subTest(candidate=candidate, status=status):
                self.assertEqual(self.bash("has_ggml").returncode, code)

    def test_a_host_apt_knows_nothing_about(self):
        self.tool("apt-cache", "exit 100")
        self.tool("dpkg-query", "exit 1")
        self.assertNotEqual(self.bash("has_ggml").returncode, 0)


class Steps(Scripts):
    def test_a_failure_shows_the_log_and_the_hint(self):
        result = self.bash("STEP_HINT='Is it plugged in?'\nstep 'fetch it' sh -c 'echo no route; exit 4'\necho never")
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("no route", result.stderr)
        self.assertIn("error: fetch it: failed (its last lines are above). Is it plugged in?", result.stderr)

    def test_a_full_disk_is_named_instead_of_the_hint(self):
        self.tool("df", "echo 'Filesystem 1024-blocks Used Available Capacity Mounted'; echo 'x 9 9 4096 100% /full'")
        result = self.bash("STEP_HINT='Is it plugged in?'\nstep 'fetch it' false")
        self.assertIn("The disk is full: /full has less than 128 MiB free.", result.stderr)
        self.assertNotIn("plugged", result.stderr)

    def test_too_little_space_is_told_before(self):
        self.tool("df", "echo 'Filesystem 1024-blocks Used Available Capacity Mounted'; echo 'x 9 9 4096 100% /full'")
        result = self.bash('need_space "$HOME" 6 "The root"')
        self.assertIn("The root needs 6 GiB", result.stderr)
        self.assertEqual(result.returncode, 1)

    def test_ctrl_c_is_no_failure(self):
        # As mmdebstrap does: it cleans up and ends with 1.
        process = self.start("step 'make it' sh -c 'trap \"echo cleaned; exit 1\" INT; while :; do sleep 0.1; done'")
        time.sleep(1)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertIn("interrupted", errors)
        self.assertNotIn("error:", errors)


if __name__ == "__main__":
    unittest.main()
