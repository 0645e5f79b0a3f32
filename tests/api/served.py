"""What the API tests share: a real `exomesh up`, and the folders clients are installed in."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
import urllib.request

SKIPPED = 77  # what ctest takes as "not run"
MODEL_ID = "smollm2-135m"
START_S = 120


def program() -> str:
    return os.environ["EXOMESH_PROGRAM"]


def model_path() -> str:
    path = os.environ.get("EXOMESH_TEST_MODEL_SMOLLM2")
    if not path:
        print("skipped: EXOMESH_TEST_MODEL_SMOLLM2 is not set; ./dev test sets it")
        sys.exit(SKIPPED)
    return path


def command(*options: str) -> list[str]:
    # One thread: two that wait for each other crawl when other tests take the cores.
    return [program(), "up", model_path(), "--model-id", MODEL_ID, "--port", "0", "--device", "cpu",
            "--threads", "1", "--context", "2048", *options]


class Served:
    """A server process; `url` is its address, `v1` what clients call the base URL."""

    def __init__(self, *options: str):
        self.process = subprocess.Popen(command(*options), stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.messages = []
        self._reader = threading.Thread(target=self._read_messages, daemon=True)
        self._reader.start()
        watchdog = threading.Timer(START_S, self.process.kill)
        watchdog.start()
        self.url = self.process.stdout.readline().strip()
        watchdog.cancel()
        if not self.url.startswith("http://"):
            self.stop()
            raise RuntimeError("exomesh up did not start: " + "".join(self.messages))
        self.v1 = self.url + "/v1"

    def _read_messages(self):
        self.messages.extend(self.process.stderr)

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(self.url + "/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"exomesh_{name} "):
                    return float(line.split()[-1])
        raise KeyError(name)

    def wait_for_metric(self, name: str, wanted, seconds: float = 20) -> float:
        """The metric's value once `wanted` says yes to it."""
        end = time.monotonic() + seconds
        while True:
            value = self.metric(name)
            if wanted(value):
                return value
            if time.monotonic() > end:
                raise AssertionError(f"{name} stayed {value}")
            time.sleep(0.05)

    def stop(self) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            status = self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return status


def cache_folder() -> pathlib.Path:
    home_cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(os.environ.get("CACHE_DIR") or os.environ.get("EXOMESH_CACHE")
                        or pathlib.Path(home_cache) / "exomesh")


def install(what: str, stamp: pathlib.Path, steps: list[list[str]], folder: pathlib.Path):
    """Runs the steps once; where one fails, says why and ends this test as skipped."""
    if stamp.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for step in steps:
        try:
            done = subprocess.run(step, cwd=folder, capture_output=True, text=True, timeout=300)
            failure = done.stderr[-2000:] if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            failure = str(error)
        if failure:
            print(f"skipped: {what} could not be installed ({' '.join(step[:4])} ...):\n{failure}")
            shutil.rmtree(folder, ignore_errors=True)
            sys.exit(SKIPPED)
    stamp.touch()
