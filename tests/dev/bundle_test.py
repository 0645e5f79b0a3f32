#!/usr/bin/env python3
"""The bundle: built from the program, unpacked, and started where nothing but it is installed.

It runs in a folder of its own (chroot) that has a shell, the two tools the start script calls, and what
these need of the C library. Skipped, with the reason, where that takes rights the caller has not.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("EXOMESH_BINARY", "")
MAKE_MODEL = os.environ.get("EXOMESH_MAKE_MODEL", "")
SHAPE = ("--embedding", "256", "--ffn", "512", "--layers", "2", "--heads", "4", "--kv-heads", "2",
         "--vocab", "512", "--context", "256", "--type", "q4_0")  # fmt: skip
QUESTION = ("Hello", "--raw", "--device", "cpu", "--temperature", "0", "--max-tokens", "8", "--threads", "1")

# Mounts end with the namespace. Inside ./dev's root nothing is shared and / is no mount point, so that
# nothing can be made private there.
ENTER = """
root=$1; shift
mount --rbind /proc "$root/proc"
exec chroot "$root" /bin/sh "$@"
"""


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def in_bare_system(root: pathlib.Path, *command: str) -> subprocess.CompletedProcess:
    is_shared = " shared:" in pathlib.Path("/proc/self/mountinfo").read_text()
    unshare = ["unshare", "--mount", "--propagation", "private" if is_shared else "unchanged"]
    return subprocess.run([*unshare, "sh", "-euc", ENTER, "enter", root, *command], capture_output=True, text=True,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, timeout=120, check=False)  # fmt: skip


def make_bare_system(root: pathlib.Path) -> None:
    (root / "proc").mkdir()
    (root / "bin").mkdir()
    for tool in ("sh", "readlink", "dirname"):
        path = shutil.which(tool)
        shutil.copy(path, root / "bin" / tool)
        words = output("ldd", path).split()
        for library in (word for word in words if word.startswith("/")):
            target = root / library[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)


class Bundle(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        make_bare_system(self.root)
        works = in_bare_system(self.root, "-c", "readlink /proc/self/exe")
        if works.returncode != 0:
            self.skipTest(f"no chroot in a mount namespace here: {works.stderr.strip()}")

    def test_it_runs_where_nothing_is_installed(self):
        archive = output(str(SOURCE / "tools/dev/bundle.sh"), BINARY, str(self.root)).strip()
        output("tar", "-xzf", archive, "-C", str(self.root))
        name = pathlib.Path(archive).name.removesuffix(".tar.gz")
        program = f"/{name}/bin/exomesh"
        self.assertTrue((self.root / name / "licenses").is_dir())

        version = in_bare_system(self.root, program, "version")
        self.assertEqual(version.stdout, output(BINARY, "version"), version.stderr)

        output(MAKE_MODEL, str(self.root / "model.gguf"), *SHAPE)
        answer = in_bare_system(self.root, program, "run", "/model.gguf", *QUESTION)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertGreater(len(answer.stdout), 4)
        self.assertEqual(answer.stdout, output(BINARY, "run", str(self.root / "model.gguf"), *QUESTION))


if __name__ == "__main__":
    result = unittest.main(verbosity=2, exit=False).result
    if result.wasSuccessful() and len(result.skipped) >= max(result.testsRun, 1):
        sys.exit(77)  # what ctest takes as "not run"
    sys.exit(0 if result.wasSuccessful() else 1)
