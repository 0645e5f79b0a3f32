#!/usr/bin/env python3
"""Compares our rendering of chat templates with Jinja2's, set up as Hugging Face transformers does.

The templates come from published packages (kept in a cache folder), from a GGUF file and from any
folder of .jinja files; then random small programs follow. A pair is equal when the texts are the same
or when both refuse. Exit status: 0 equal, 1 different, 77 too few real templates could be had.
"""

import argparse
import collections.abc
import datetime
import functools
import json
import os
import pathlib
import struct
import subprocess
import sys

SKIPPED = 77
try:
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
except ImportError:
    print("skipped: python3-jinja2 is not installed")
    sys.exit(SKIPPED)

import conversations
import packages
import programs

# Fixed, as in render_template.cpp.
NOW = datetime.datetime(2024, 7, 26, 12, 34, 56, tzinfo=datetime.timezone.utc)
# Fewer say too little: a package registry could not be reached. Either one has as many.
TEMPLATES_MIN = 10


class Opaque:
    """A generator that prints without its address."""

    def __init__(self, items):
        self._items = items

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._items)

    def __repr__(self):
        return "<generator>"


def without_address(function):
    @functools.wraps(function)
    def wrapped(*arguments, **named):
        result = function(*arguments, **named)
        return Opaque(result) if isinstance(result, collections.abc.Iterator) else result

    return wrapped


class GenerationTag(jinja2.ext.Extension):
    """Prints the body of `generation`, which only training looks at."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller):
        return caller()


def make_environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True,
        extensions=[GenerationTag, jinja2.ext.loopcontrols])
    environment.filters.update({name: without_address(function) for name, function in environment.filters.items()})
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = NOW.strftime
    environment.compiled = {}  # the last template: compiling takes most of the time
    return environment


class Ours:
    """Our renderer, a child process that answers a line with a line."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def render(self, source, variables):
        self.process.stdin.write(json.dumps({"template": source, "variables": variables}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"FAIL: our renderer died on {source!r} with {variables!r}")
        return json.loads(answer)


def render_theirs(environment, source, variables):
    try:
        if source not in environment.compiled:
            environment.compiled = {source: environment.from_string(source)}
        return {"text": environment.compiled[source].render(**variables)}
    except Exception as error:  # whatever Jinja2 refuses with, we must refuse too
        return {"error": f"{type(error).__name__}: {error}"}


def is_equal(ours, theirs):
    if "text" in theirs:
        return ours.get("text") == theirs["text"]
    return "error" in ours


def report(name, source, variables, ours, theirs):
    print(f"DIFFERENT {name}")
    if source is not None:
        print(f"  template  {source!r}")
    print(f"  variables {json.dumps(variables)[:2000]}")
    for who, answer in (("jinja2", theirs), ("ours", ours)):
        key = "text" if "text" in answer else "error"
        print(f"  {who:9} {key} {answer[key][:3000]!r}")


def gguf_template(path):
    """The metadata string tokenizer.chat_template of a GGUF file, or None."""
    scalar = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    with open(path, "rb") as file:
        def number(code):
            return struct.unpack("<" + code, file.read(struct.calcsize(code)))[0]

        def text():
            return file.read(number("Q")).decode("utf-8", "replace")

        def value(kind):
            if kind == 8:
                return text()
            if kind == 9:
                inner = number("I")
                for _ in range(number("Q")):
                    value(inner)
                return None
            return number(scalar[kind])

        if file.read(4) != b"GGUF":
            return None
        number("I"), number("Q")
        for _ in range(number("Q")):
            key = text()
            content = value(number("I"))
            if key == "tokenizer.chat_template":
                return content
    return None


def gather(arguments):
    yield from packages.templates(arguments.cache)
    model = os.environ.get("EXOMESH_TEST_MODEL_SMOLLM2")
    if model and pathlib.Path(model).exists():
        template = gguf_template(model)
        if template:
            yield "smollm2", template
    for folder in arguments.templates:
        for path in sorted(folder.glob("*.jinja")):
            yield path.stem, path.read_text()


def compare_templates(ours, environment, arguments):
    template_count = different_count = 0
    for name, source in gather(arguments):
        template_count += 1
        pairs = texts = differences = 0
        for variables in conversations.all_variables():
            theirs = render_theirs(environment, source, variables)
            answer = ours.render(source, variables)
            pairs += 1
            texts += "text" in theirs
            if not is_equal(answer, theirs):
                differences += 1
                if differences == 1:
                    report(name, None, variables, answer, theirs)
        different_count += differences > 0
        print(f"{'equal' if differences == 0 else 'DIFFERENT':9} {name}: {pairs - differences} of "
              f"{pairs} conversations, {texts} with a text")
    return template_count, different_count


def compare_programs(ours, environment, arguments):
    generator = programs.Generator(arguments.seed)
    texts = differences = 0
    for i in range(arguments.programs):
        source, variables = generator.program()
        theirs = render_theirs(environment, source, variables)
        if programs.is_unstable(theirs.get("text", "")):
            continue
        answer = ours.render(source, variables)
        texts += "text" in theirs
        if not is_equal(answer, theirs):
            differences += 1
            if differences <= arguments.show:
                report(f"program {i} of seed {arguments.seed}", source, variables, answer, theirs)
    print(f"programs: {arguments.programs} compared, {texts} with a text, {differences} different")
    return differences


def status_of(count, different):
    """What to end with after `count` templates, and programs, of which `different` differed."""
    if different > 0:
        return 1
    if count < TEMPLATES_MIN:
        print(f"skipped: {count} real templates could be had, {TEMPLATES_MIN} are wanted")
        return SKIPPED
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("renderer", help="the built exomesh_render_template")
    parser.add_argument("--templates", type=pathlib.Path, action="append", default=[], help="a folder of .jinja files")
    parser.add_argument("--programs", type=int, default=20000, help="how many random programs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=10, help="how many differing programs to print")
    parser.add_argument("--cache", type=pathlib.Path,
                        default=pathlib.Path(os.environ.get("EXOMESH_CACHE") or pathlib.Path.home() / ".cache/exomesh") / "templates")
    arguments = parser.parse_args()
    environment = make_environment()
    ours = Ours(arguments.renderer)
    different = compare_programs(ours, environment, arguments)
    count, different_templates = compare_templates(ours, environment, arguments)
    print(f"templates: {count} compared, {different_templates} different")
    sys.exit(status_of(count, different + different_templates))


if __name__ == "__main__":
    main()
