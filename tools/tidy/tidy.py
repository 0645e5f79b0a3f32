#!/usr/bin/env python3
"""The style rules of this project that no compiler knows. Prints file:line: rule: what to do.

`tidy.py [--root FOLDER]` checks every file git knows or would add; exit status 1 with findings.
Each rule is one function from a Tree to findings; tidy_test.py shows each one failing.
"""

import argparse
import dataclasses
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import source_text

LINE_LENGTH_MAX = 100
FUNCTION_LENGTH_MAX = 70
README_LENGTH_MAX = 40
BLOB_BYTES_MAX = 1 << 20

CPP = (".h", ".cpp")
TEST_SUFFIXES = ("_test.cpp", "_fuzz.cpp", "_bench.cpp")
LONG_FUNCTIONS = "tools/tidy/long_functions.txt"

# Bytes from outside are parsed here; each needs a fuzzer of that name.
FUZZED = (
    "src/model/gguf_fuzz.cpp",
    "src/model/tokenizer_fuzz.cpp",
    "src/model/chat_template_fuzz.cpp",
    "src/api/http_request_fuzz.cpp",
    "src/net/certificate_fuzz.cpp",
    "src/net/frame_fuzz.cpp",
    "src/net/handshake_fuzz.cpp",
    "src/net/peer_id_fuzz.cpp",
    "src/runner/messages_fuzz.cpp",
    "src/runner/worker_address_fuzz.cpp",
    "src/runner/recording_fuzz.cpp",
)


@dataclasses.dataclass(frozen=True)
class Ban:
    pattern: re.Pattern
    instead: str
    allowed: tuple[str, ...]  # path prefixes, or suffixes that begin with "_"

    def applies(self, path: str) -> bool:
        return not any(path.endswith(a) if a.startswith("_") else path.startswith(a) for a in self.allowed)


def _ban(pattern: str, instead: str, *allowed: str) -> Ban:
    return Ban(re.compile(pattern), instead, allowed)


# trust.cpp has the body of the self-test's own process.
_PRINTERS = ("src/main/", "src/base/", "src/device/trust.cpp", "tests/", *TEST_SUFFIXES)
_CLOCKS = ("src/platform/", "tests/", *TEST_SUFFIXES)

# Checked in C++ with comments and strings removed.
BANS = (
    _ban(r"_clock::now\b", "platform/clock.h: monotonic_us() or unix_s()", *_CLOCKS),
    _ban(r"\b(gettimeofday|clock_gettime)\s*\(", "platform/clock.h", "src/platform/"),
    _ban(r"(?<![\w.>])time\s*\(\s*(nullptr|NULL|0)\s*\)", "platform/clock.h: unix_s()", "src/platform/"),
    _ban(r"(?<![\w>:])::(socket|bind|listen|accept4?)\s*\(", "platform/socket.h, or Boost.Asio in api/", "src/platform/", "tests/tools/link_emulator/"),
    _ban(r"(?<![\w.>])s?rand\s*\(", "std::mt19937_64 with an explicit seed"),
    _ban(r"\bthrow\b", "return fail(...) of base/result.h"),
    _ban(r"\busing\s+namespace\b", "names in full, or one using-declaration"),
    _ban(r"(?<!\w)assert\s*\(", "EXO_ASSERT of base/assert.h"),
    _ban(r"\bstd::(cout|cerr|print|println)\b", "return a value or an Error; main/ prints", *_PRINTERS),
    _ban(r"(?<!\w)v?f?printf\s*\(", "return a value or an Error; main/ prints", *_PRINTERS),
)

UPPER_NAMES = {"README", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG", "SECURITY", "STYLE", "LICENSE"}
OUTSIDE_NAMES = ("corpus", "data")  # folders whose files are named by others
GENERATED = (".o", ".a", ".so", ".pyc", ".log", ".gguf", ".orig", ".rej", ".swp", ".gcda", ".gcno", ".tmp")
TEXT = (*CPP, ".py", ".sh", ".cmake", ".md", ".txt", ".json", ".yaml", ".yml", ".js", ".html", ".css", "dev")
NO_TABS = (*CPP, ".py", ".cmake", "CMakeLists.txt")


@dataclasses.dataclass(frozen=True)
class Finding:
    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


class Tree:
    """The files of the project: their paths relative to `root`, sorted, and their text."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.paths = [p for p in _list_files(root) if (root / p).is_file()]
        self._texts: dict[str, str] = {}
        self._codes: dict[str, str] = {}

    def text(self, path: str) -> str:
        if path not in self._texts:
            self._texts[path] = (self.root / path).read_bytes().decode(errors="replace")
        return self._texts[path]

    def code(self, path: str) -> str:
        if path not in self._codes:
            self._codes[path] = source_text.without_literals(self.text(path))
        return self._codes[path]

    def cpp(self, *prefixes: str) -> list[str]:
        return [p for p in self.paths if p.endswith(CPP) and p.startswith(prefixes or "")]

    def text_files(self) -> list[str]:
        return [p for p in self.paths if p.endswith(TEXT) and not _named_by_others(p)]

    def modules(self) -> dict[str, list[str]]:
        """Every module of cmake/modules.cmake with what it names as DEPENDS, in the file's order."""
        text = self.text("cmake/modules.cmake")
        found = {}
        for body in re.findall(r"exomesh_module\(([^)]*)\)", re.sub(r"#.*", "", text)):
            name, *words = body.split()
            begin = words.index("DEPENDS") + 1 if "DEPENDS" in words else len(words)
            end = words.index("LIBRARIES") if "LIBRARIES" in words else len(words)
            found[name] = words[begin:end]
        return found


def _list_files(root: pathlib.Path) -> list[str]:
    if (root / ".git").exists():
        command = ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z", "--cached", "--others"]
        output = subprocess.run([*command, "--exclude-standard"], capture_output=True, check=True).stdout
        return sorted(set(output.decode().split("\0")) - {""})
    skipped = {"build", "dist", "__pycache__", "node_modules"}
    files = (p.relative_to(root) for p in root.rglob("*") if p.is_file())
    return sorted(str(p) for p in files if not skipped & set(p.parts))


def _named_by_others(path: str) -> bool:
    return any(part in OUTSIDE_NAMES for part in pathlib.PurePath(path).parts[:-1])


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return enumerate(text.splitlines(), start=1)


def _is_test(path: str) -> bool:
    return path.endswith(TEST_SUFFIXES) or "/testing/" in path


# --- rules ---------------------------------------------------------------------------------------


def layers(tree: Tree) -> Iterator[Finding]:
    """A module may include only the modules its DEPENDS reach."""
    modules = tree.modules()
    reach: dict[str, set[str]] = {}
    for name, depends in modules.items():
        for depend in depends:
            if depend not in reach:
                message = f"module '{name}' depends on '{depend}', which does not stand above it: order the list"
                yield Finding("cmake/modules.cmake", 1, "layers", message)
        reach[name] = {name}.union(*(reach.get(d, set()) for d in depends))
    files = set(tree.paths)
    for path in tree.cpp("src/"):
        module = path.split("/")[1]
        if module not in modules:
            yield Finding(path, 1, "layers", f"add exomesh_module({module} ...) to cmake/modules.cmake")
            continue
        for number, line in _lines(tree.text(path)):
            include = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if include:
                message = _include_error(path, module, include.group(1), files, reach)
                if message:
                    yield Finding(path, number, "layers", message)


def _include_error(path: str, module: str, include: str, files: set[str], reach: dict) -> str | None:
    if f"src/{include}" not in files:
        return f'"{include}" is no file under src/: name it from src/, or use <> for a library'
    target = include.split("/")[0]
    if target not in reach[module]:
        return f"{module} may not include {target}: move the code, or give {module} the DEPENDS if it lies lower"
    if "/testing/" in include and not _is_test(path):
        return "testing/ is for tests: move what is needed out of it"
    return None


def namespaces(tree: Tree) -> Iterator[Finding]:
    """The namespace of a file is exomesh::<folder>; base is exomesh itself."""
    for path in tree.cpp("src/"):
        module = path.split("/")[1]
        wanted = "exomesh" if module == "base" else f"exomesh::{module}"
        opened = [(n, m.group(1)) for n, line in _lines(tree.code(path))
                  if (m := re.match(r"\s*(?:inline\s+)?namespace\s+(exomesh[\w:]*)\s*\{", line))]
        for number, name in opened:
            if not (name + "::").startswith(wanted + "::"):
                yield Finding(path, number, "namespace", f"'{name}' here should be '{wanted}'")
        has_code = not path.endswith(("_fuzz.cpp", "/main.cpp"))
        if has_code and not opened:
            yield Finding(path, 1, "namespace", f"put the file's names into namespace {wanted}")


def constants(tree: Tree) -> Iterator[Finding]:
    """Files of a module are compiled together: one's constant could take the place of a header's."""
    declared = re.compile(r"^(?:inline |static )?constexpr [^=({;]*?(\w+)(?:\[[^\]]*\])?\s*[={(;]", re.MULTILINE)
    in_headers: dict[tuple[str, str], str] = {}
    for path in tree.cpp("src/"):
        if path.endswith(".h") and not _is_test(path):
            for name in declared.findall(tree.code(path)):
                in_headers[path.split("/")[1], name] = path
    for path in tree.cpp("src/"):
        if path.endswith(".h") or _is_test(path):
            continue
        for number, line in _lines(tree.code(path)):
            header = (match := declared.match(line)) and in_headers.get((path.split("/")[1], match.group(1)))
            if header:
                yield Finding(path, number, "constants", f"'{match.group(1)}' stands in {header}, too: rename one")


def line_length(tree: Tree) -> Iterator[Finding]:
    for path in tree.cpp():
        for number, line in _lines(tree.text(path)):
            if len(line) > LINE_LENGTH_MAX:
                yield Finding(path, number, "line-length", f"{len(line)} columns: break it at {LINE_LENGTH_MAX}")


def function_length(tree: Tree) -> Iterator[Finding]:
    """A ratchet: the listed long functions may only become shorter, others may not become long."""
    known = {}
    if LONG_FUNCTIONS in tree.paths:
        for number, line in _lines(tree.text(LONG_FUNCTIONS)):
            fields = line.split("#")[0].split()
            if len(fields) == 3:
                known[(fields[0], fields[1])] = (int(fields[2]), number)
    for path in tree.cpp():
        for function in source_text.functions(tree.code(path)):
            allowed, _ = known.pop((path, function.name), (FUNCTION_LENGTH_MAX, 0))
            if function.line_count > allowed:
                message = f"{function.name} has {function.line_count} lines, {allowed} are allowed: split it"
                yield Finding(path, function.line, "function-length", message)
            elif FUNCTION_LENGTH_MAX < allowed and function.line_count < allowed:
                message = f"{function.name} is down to {function.line_count} lines: lower it in {LONG_FUNCTIONS}"
                yield Finding(path, function.line, "function-length", message)
    for (path, name), (_, number) in known.items():
        yield Finding(LONG_FUNCTIONS, number, "function-length", f"{path} has no {name}: delete the line")


def banned(tree: Tree) -> Iterator[Finding]:
    for path in tree.cpp():
        bans = [ban for ban in BANS if ban.applies(path)]
        for number, line in _lines(tree.code(path)):
            for ban in bans:
                if match := ban.pattern.search(line):
                    yield Finding(path, number, "banned", f"'{match.group().strip()}': use {ban.instead}")


def pragma_once(tree: Tree) -> Iterator[Finding]:
    for path in tree.cpp():
        if path.endswith(".h") and not re.search(r"^#pragma once$", tree.text(path), re.MULTILINE):
            yield Finding(path, 1, "pragma-once", "a header begins with its comment and #pragma once")


def module_files(tree: Tree) -> Iterator[Finding]:
    """Each module explains itself in a short README.md and has tests; parsers have fuzzers."""
    for module in tree.modules():
        folder = f"src/{module}/"
        readme = folder + "README.md"
        if readme not in tree.paths:
            yield Finding(readme, 1, "module", "write it: purpose, entry header, what it may use, invariants")
        elif (count := len(tree.text(readme).splitlines())) > README_LENGTH_MAX:
            yield Finding(readme, count, "module", f"{count} lines: shorten it to {README_LENGTH_MAX}")
        if not any(p.startswith(folder) and p.endswith("_test.cpp") for p in tree.paths):
            yield Finding(folder, 1, "module", "add a _test.cpp beside the code")
    for path in FUZZED:
        if path not in tree.paths:
            yield Finding(path, 1, "module", "bytes from outside are parsed here: add this fuzzer")


def leftovers(tree: Tree) -> Iterator[Finding]:
    pattern = re.compile(r"\b(FIX" r"ME|TO" r"DO|XX" r"X)\b")
    for path in tree.text_files():
        for number, line in _lines(tree.text(path)):
            if match := pattern.search(line):
                yield Finding(path, number, "leftover", f"'{match.group()}': finish it or write an issue")


def stray_files(tree: Tree) -> Iterator[Finding]:
    for path in tree.paths:
        if path.endswith(GENERATED) and not _named_by_others(path):
            yield Finding(path, 1, "stray", "generated files are not committed: delete it, extend .gitignore")
        if (tree.root / path).stat().st_size > BLOB_BYTES_MAX:
            yield Finding(path, 1, "stray", f"larger than {BLOB_BYTES_MAX} bytes: fetch or generate it")


def file_names(tree: Tree) -> Iterator[Finding]:
    known = {"CMakeLists.txt", "CMakePresets.json"}
    for path in tree.paths:
        parts = pathlib.PurePath(path).parts
        if _named_by_others(path) or parts[-1] in known or parts[-1].split(".")[0] in UPPER_NAMES:
            continue
        if not all(re.fullmatch(r"\.?[a-z0-9_]+([.-][a-z0-9_]+)*", part) for part in parts):
            yield Finding(path, 1, "file-name", "file names are snake_case")
        elif path.endswith((*CPP, ".py", ".sh", ".cmake")) and "-" in parts[-1]:
            yield Finding(path, 1, "file-name", "file names are snake_case")


def machine_paths(tree: Tree) -> Iterator[Finding]:
    pattern = re.compile(r"(?<![\w./}-])/(?:(?:work|root|scratch)/\w|(?:home|Users)/[a-z])")
    for path in tree.text_files():
        for number, line in _lines(tree.text(path)):
            if match := pattern.search(line):
                message = f"'{match.group()}...' exists on one machine only: derive it or make it an option"
                yield Finding(path, number, "machine-path", message)


def text_form(tree: Tree) -> Iterator[Finding]:
    for path in tree.text_files():
        text = tree.text(path)
        if text and not text.endswith("\n"):
            yield Finding(path, text.count("\n") + 1, "text", "end the file with a newline")
        if "\r" in text:
            yield Finding(path, 1, "text", "lines end with a newline alone: remove the carriage returns")
        if path.endswith(NO_TABS) and "\t" in text:
            yield Finding(path, text[: text.index("\t")].count("\n") + 1, "text", "indent with spaces, not tabs")


RULES = (
    layers,
    namespaces,
    constants,
    line_length,
    function_length,
    banned,
    pragma_once,
    module_files,
    leftovers,
    stray_files,
    file_names,
    machine_paths,
    text_form,
)


def check(root: pathlib.Path) -> list[Finding]:
    tree = Tree(root)
    return [finding for rule in RULES for finding in rule(tree)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--root", type=pathlib.Path, default=default, help="the source tree")
    findings = check(parser.parse_args().root)
    for finding in findings:
        print(finding)
    print(f"tidy: {len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
