#!/usr/bin/env python3
"""Runs clang-tidy on C++ files, several at a time, and skips those that were clean before.

A file is skipped while it, every header of src/ it reaches, its compile command and .clang-tidy are
the same as when it was last found clean. Prints the findings; exit status 1 where there are some.
"""

import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import re
import subprocess
import sys

INCLUDE = re.compile(rb'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
NOISE = re.compile(r"^(\d+ warnings? (generated|treated as errors?)|Suppressed \d+|Use -header-filter).*$")


def reached(path: pathlib.Path, source: pathlib.Path, seen: set[pathlib.Path]) -> None:
    """Adds `path` and every file of src/ it includes, directly or not, to `seen`."""
    if path in seen or not path.is_file():
        return
    seen.add(path)
    for name in INCLUDE.findall(path.read_bytes()):
        reached(source / "src" / name.decode(), source, seen)


def fingerprint(path: pathlib.Path, command: str, source: pathlib.Path) -> str:
    files: set[pathlib.Path] = set()
    reached(path, source, files)
    digest = hashlib.sha256(command.encode())
    for file in (source / ".clang-tidy", *sorted(files)):
        digest.update(str(file).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def check(path: pathlib.Path, build: pathlib.Path) -> str:
    """The findings of one file; empty where it is clean."""
    command = ["clang-tidy-19", "--quiet", "--extra-arg=-Wno-unknown-warning-option", "-p"]
    result = subprocess.run([*command, str(build), str(path)], capture_output=True, text=True, check=False)
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line and not NOISE.match(line)]
    if result.returncode != 0 and not lines:
        return f"{path}: clang-tidy ended with status {result.returncode}"
    return "\n".join(lines) if result.returncode != 0 else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="has compile_commands.json")
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("files", nargs="*", type=pathlib.Path, help="default: every compiled file")
    arguments = parser.parse_args()

    source = arguments.source.resolve()
    entries = json.loads((arguments.build / "compile_commands.json").read_text())
    commands = {pathlib.Path(entry["file"]): entry["command"] for entry in entries}
    wanted = [file.resolve() for file in arguments.files] or sorted(commands)
    cache = arguments.build / "clang_tidy_clean"
    cache.mkdir(exist_ok=True)
    stamps = {path: cache / fingerprint(path, commands.get(path, ""), source) for path in wanted}
    todo = [path for path in wanted if not stamps[path].exists()]

    finding_count = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        futures = {pool.submit(check, path, arguments.build): path for path in todo}
        for number, future in enumerate(concurrent.futures.as_completed(futures), start=1):
            path = futures[future]
            if sys.stderr.isatty():
                print(f"\r\033[K{number}/{len(todo)} {path.relative_to(source)}", end="", file=sys.stderr)
            if findings := future.result():
                finding_count += 1
                print(("\n" if sys.stderr.isatty() else "") + findings, flush=True)
            else:
                stamps[path].touch()
    if sys.stderr.isatty() and todo:
        print("\r\033[K", end="", file=sys.stderr)
    print(f"clang-tidy: {len(wanted)} files, {len(todo)} checked, {finding_count} with findings", file=sys.stderr)
    return 1 if finding_count else 0


if __name__ == "__main__":
    sys.exit(main())
