#!/usr/bin/env python3
"""The parts of ./dev that need no root: where it builds, and what it says when a step fails."""

import os
import pathlib
import shutil
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


    def test_which_systems_are_built_on(self):
        for words, code in (
            ("ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie", 0),
            ("ID=debian\nVERSION_ID=\"14\"\nVERSION_CODENAME=forky", 0),
            ("ID=debian\nVERSION_CODENAME=forky", 0),  # testing and sid have no number
            ("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm", 1),
            ("ID=ubuntu\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble", 1),
            ("ID=arch", 1),
        ):
            release = self.folder / "os-release"
            release.write_text(words + "\n")
            with self.subTest(words=words):
                self.assertEqual(self.bash(f"OS_RELEASE={release}\nis_debian_13_or_newer").returncode != 0, code != 0)
        self.assertNotEqual(self.bash("OS_RELEASE=/nowhere\nis_debian_13_or_newer").returncode, 0)


class Mirror(Scripts):
    """Which of the addresses in the host's package sources is Debian's."""

    DOCKER = "deb [arch=amd64] https://download.docker.com/linux/debian trixie stable\n"
    DEB822 = "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nSigned-By:\n -----BEGIN\n .\n"

    def mirror(self, **lists: str) -> str:
        apt = self.folder / "apt"
        shutil.rmtree(apt, ignore_errors=True)
        (apt / "sources.list.d").mkdir(parents=True)
        for name, text in lists.items():
            folder = apt if name == "sources_list" else apt / "sources.list.d"
            (folder / name.replace("_", ".")).write_text(text)
        result = self.bash(f"APT_DIR={apt}\nhost_mirror")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout.strip()

    def test_none(self):
        self.assertEqual(self.mirror(), "")
        self.assertEqual(self.mirror(sources_list="deb http://archive.ubuntu.com/ubuntu noble main\n"), "")

    def test_of_either_format(self):
        line = "deb [signed-by=/k.gpg] http://one/debian/ bookworm main contrib # ours\n"
        self.assertEqual(self.mirror(sources_list=line), "http://one/debian/")
        fields = self.DEB822.format(uri="http://two/debian", suites="trixie trixie-updates")
        self.assertEqual(self.mirror(debian_sources=fields), "http://two/debian")

    def test_not_of_a_comment_or_what_apt_does_not_read(self):
        self.assertEqual(self.mirror(sources_list="# deb http://old/debian trixie main\n"), "")
        self.assertEqual(self.mirror(sources_list="deb-src http://source/debian trixie main\n"), "")
        fields = self.DEB822.format(uri="http://two/debian", suites="trixie")
        self.assertEqual(self.mirror(debian_sources="Enabled: no\n" + fields), "")
        self.assertEqual(self.mirror(debian_sources="#" + fields.replace("\n", "\n#")), "")
        self.assertEqual(self.mirror(old_save="deb http://old/debian trixie main\n"), "")

    def test_not_of_somebody_else(self):
        self.assertEqual(self.mirror(docker_list=self.DOCKER), "")
        fields = self.DEB822.format(uri="http://own/debian", suites="trixie trixie-updates")
        other = "deb https://packages.example.com/product/debian trixie main\n"
        self.assertEqual(self.mirror(docker_list=self.DOCKER, a_list=other, debian_sources=fields), "http://own/debian")

    def test_the_one_that_is_told(self):
        self.assertEqual(self.bash("EXOMESH_DEBIAN_MIRROR=http://mine/debian\nhost_mirror").stdout, "http://mine/debian\n")


class Root(Scripts):
    """The build root is made once, and anew where it is half made; mmdebstrap is a stand-in."""

    def setUp(self) -> None:
        super().setUp()
        self.tool("id", "echo 0")
        self.tool("unshare", "exit 0")
        self.tool("df", "echo 'Filesystem 1024-blocks Used Available Capacity Mounted'; echo 'x 9 9 99999999 1% /'")
        self.tool("mmdebstrap", """
            while [ "$1" != trixie ]; do shift; done
            mkdir -p "$2/etc/apt/sources.list.d" "$2/etc/apt/apt.conf.d" "$2/bin"
            echo "deb http://mirror/debian trixie main" >"$2/etc/apt/sources.list"
            [ ! -e "$HOME/broken" ] || { echo "no route"; exit 1; }
            cp /bin/true "$2/bin/bash"
            echo made >>"$HOME/made" """)  # fmt: skip
        self.root = self.folder / "root"

    def made(self) -> int:
        path = self.folder / "made"
        return len(path.read_text().split()) if path.exists() else 0

    def ensure(self) -> subprocess.CompletedProcess:
        return self.bash("EXOMESH_DEBIAN_MIRROR=http://mirror/debian\nensure_root build")

    def test_is_made_once(self):
        for _ in range(2):
            result = self.ensure()
            self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.made(), 1)
        backports = (self.root / "etc/apt/sources.list.d/backports.list").read_text()
        self.assertEqual(backports, "deb http://mirror/debian trixie-backports main\n")

    def test_is_made_anew_where_it_is_half_made_or_old(self):
        self.ensure()
        stamp = self.root / ".exomesh-root"
        for broken in (stamp.unlink, lambda: stamp.write_text("0\n"), (self.root / "bin/bash").unlink):
            before = self.made()
            (self.folder / "root.partial.1").mkdir()
            (self.root / "left-over").touch()
            broken()
            self.assertEqual(self.ensure().returncode, 0)
            self.assertEqual(self.made(), before + 1)
            self.assertFalse((self.root / "left-over").exists())
            self.assertEqual(list(self.folder.glob("root.partial.*")), [])

    def test_a_failure_leaves_nothing_that_looks_whole(self):
        (self.folder / "broken").touch()
        result = self.ensure()
        self.assertEqual(result.returncode, 1)
        self.assertIn("no route", result.stderr)
        self.assertEqual(list(self.folder.glob("root*")), [self.folder / "root.lock"])
        (self.folder / "broken").unlink()
        self.assertEqual(self.ensure().returncode, 0)
        self.assertTrue((self.root / ".exomesh-root").exists())


class Backports(Scripts):
    def installed_with(self, codename: str, policy: str) -> str:
        (self.folder / "os-release").write_text(f"ID=debian\nVERSION_CODENAME={codename}\n")
        self.tool("dpkg", "exit 0")
        self.tool("apt-cache", f"echo '{policy}'")
        self.tool("apt-get", 'echo "$@"')
        result = self.bash(f"OS_RELEASE={self.folder}/os-release\ninstall_packages build")
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout.splitlines()[0]

    def test_those_of_this_release_alone(self):
        trixie = "release o=Debian Backports,a=stable-backports,n=trixie-backports,l=Debian Backports"
        self.assertIn("-t trixie-backports", self.installed_with("trixie", trixie))
        self.assertNotIn("-t", self.installed_with("forky", trixie).split())
        self.assertNotIn("-t", self.installed_with("trixie", "release n=trixie,l=Debian").split())


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
