#!/usr/bin/env python3
"""Tests of the style rules: for each, a small tree that passes and one change that must be found."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import source_text  # noqa: E402
import tidy  # noqa: E402

GOOD = {
    "cmake/modules.cmake": "exomesh_module(base)\nexomesh_module(model DEPENDS base)\n"
    "exomesh_module(main DEPENDS model base LIBRARIES CLI11::CLI11)\n",
    "src/base/README.md": "# base\n",
    "src/base/result.h": "#pragma once\nnamespace exomesh {\nint answer();\n}\n",
    "src/base/result_test.cpp": '#include "base/result.h"\nnamespace exomesh {\n}\n',
    "src/model/README.md": "# model\n",
    "src/model/testing/small_model.h": "#pragma once\nnamespace exomesh::model {\n}\n",
    "src/model/gguf.cpp": '#include "base/result.h"\nnamespace exomesh::model {\nint f() { return 1; }\n}\n',
    "src/model/gguf_test.cpp": '#include "model/testing/small_model.h"\nnamespace exomesh::model {\n}\n',
    "src/main/README.md": "# main\n",
    "src/main/run_test.cpp": '#include "model/testing/small_model.h"\nnamespace exomesh::main {\n}\n',
    **{path: "int x;\n" for path in tidy.FUZZED},
}
# The modules above whose parsers need fuzzers are there too.
for _module in sorted({path.split("/")[1] for path in tidy.FUZZED} - {"model"}):
    GOOD["cmake/modules.cmake"] += f"exomesh_module({_module} DEPENDS base)\n"
    GOOD[f"src/{_module}/README.md"] = f"# {_module}\n"
    GOOD[f"src/{_module}/any_test.cpp"] = f"namespace exomesh::{_module} {{\n}}\n"


def findings(changes: dict[str, str | bytes | None]) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, content in {**GOOD, **changes}.items():
            if content is None:
                continue
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())
        return [str(finding) for finding in tidy.check(root)]


def in_model(body: str) -> dict[str, str]:
    return {"src/model/gguf.cpp": "namespace exomesh::model {\n" + body + "\n}\n"}


class Rules(unittest.TestCase):
    def one(self, changes: dict, expected: str) -> None:
        found = findings(changes)
        self.assertEqual(len(found), 1, found)
        self.assertIn(expected, found[0])

    def none(self, changes: dict) -> None:
        self.assertEqual(findings(changes), [])

    def test_a_good_tree_has_no_findings(self):
        self.none({})

    def test_an_include_that_points_up(self):
        up = {"src/base/result.h": '#pragma once\n#include "model/testing/small_model.h"\nnamespace exomesh {}\n'}
        self.one(up, "src/base/result.h:2: layers: base may not include model")

    def test_an_include_of_no_file(self):
        self.one(in_model('#include "gguf.h"'), 'layers: "gguf.h" is no file under src/')

    def test_testing_is_for_tests(self):
        self.one(in_model('#include "model/testing/small_model.h"'), "testing/ is for tests")

    def test_a_folder_without_a_module(self):
        self.one({"src/gui/x.h": "#pragma once\nnamespace exomesh::gui {}\n"}, "add exomesh_module(gui ...)")

    def test_modules_are_listed_bottom_up(self):
        modules = "exomesh_module(base DEPENDS model)\nexomesh_module(model)\nexomesh_module(main DEPENDS base model)\n"
        found = findings({"cmake/modules.cmake": modules})
        self.assertTrue(any("'base' depends on 'model'" in f for f in found), found)

    def test_namespace_matches_the_folder(self):
        self.one({"src/model/gguf.cpp": "namespace exomesh::main {\n}\n"}, "should be 'exomesh::model'")
        self.one({"src/model/gguf.cpp": "int f();\n"}, "namespace exomesh::model")
        self.none({"src/model/gguf.cpp": "namespace exomesh::model::detail {\n}\n"})

    def test_a_constant_that_takes_the_place_of_a_headers(self):
        header = {"src/model/limits.h": "#pragma once\nnamespace exomesh::model {\ninline constexpr int most = 1;\n}\n"}
        own = {"src/model/limits.cpp": "namespace exomesh::model {\nconstexpr int most = 2;\n}\n"}
        other = {"src/model/limits.cpp": "namespace exomesh::model {\nvoid f() {\n    constexpr int most = 2;\n}\n}\n"}
        self.none(header | other)
        self.one(header | own, "src/model/limits.cpp:2: constants")

    def test_line_length(self):
        self.one(in_model("// " + "x" * 98), "gguf.cpp:2: line-length: 101 columns")
        self.none(in_model("// " + "x" * 97))

    def test_function_length(self):
        body = "\n".join(f"int a{i};" for i in range(69))
        self.one(in_model("void longer() {\n" + body + "\n}"), "function-length: longer has 71 lines")
        self.none(in_model("void fits() {\n" + body[: body.rindex("\n")] + "\n}"))

    def test_the_list_of_long_functions_only_shrinks(self):
        body = "void f() {\n" + "int a;\n" * 78 + "}"
        listed = {tidy.LONG_FUNCTIONS: "src/model/gguf.cpp f 80  # why\n"}
        self.none({**in_model(body), **listed})
        self.one({**in_model(body.replace("int a;\n", "", 1)), **listed}, "down to 79 lines: lower it")
        self.one({**in_model("int a;\n" + body.replace("int a;\n", "int a;\n\n", 1)), **listed}, "80 are allowed")
        self.one({**in_model("int a;"), **listed}, "has no f: delete the line")

    def test_banned_calls(self):
        for code in (
            "auto t = std::chrono::steady_clock::now();",
            "int s = ::socket(1, 2, 3);",
            "int r = rand();",
            "srand(1);",
            "auto t = time(nullptr);",
            "auto t = std::time(nullptr);",
            "gettimeofday(&t, nullptr);",
            "void f() { throw 1; }",
            "using namespace std;",
            "void f() { assert(true); }",
            'void f() { std::cout << "x"; }',
            'void f() { printf("x"); }',
            'void f() { std::fprintf(stderr, "x"); }',
        ):
            with self.subTest(code):
                self.one(in_model(code), "gguf.cpp:2: banned: ")

    def test_what_only_looks_banned(self):
        for code in (
            "// throw, printf() and rand() in a comment",
            'const char* text = "throw std::cout << time(nullptr)";',
            'const char* text = R"(using namespace x;)";',
            "static_assert(true);",
            "int n = std::snprintf(a, 1, b);",
            "auto separator = 1'000; int operand(int); int n = operand(1); char c = '\"';",
            "tcp::socket socket(context);",
        ):
            with self.subTest(code):
                self.none(in_model(code))

    def test_printing_is_allowed_in_main_and_tests(self):
        self.none({"src/main/run_test.cpp": 'namespace exomesh::main {\nvoid f() { printf("x"); }\n}\n'})
        self.none({"src/main/run.cpp": 'namespace exomesh::main {\nvoid f() { printf("x"); }\n}\n'})

    def test_pragma_once(self):
        self.one({"src/base/result.h": "namespace exomesh {}\n"}, "result.h:1: pragma-once")

    def test_module_files(self):
        self.one({"src/base/README.md": None}, "src/base/README.md:1: module: write it")
        self.one({"src/base/README.md": "line\n" * 41}, "41 lines: shorten it to 40")
        self.one({"src/base/result_test.cpp": None}, "src/base/:1: module: add a _test.cpp")
        self.one({tidy.FUZZED[0]: None}, "add this fuzzer")

    def test_leftovers(self):
        self.one(in_model("// FIX" "ME later"), "leftover: 'FIX" "ME'")
        self.one({"docs/a.md": "TO" "DO\n"}, "docs/a.md:1: leftover")
        self.none({"tools/a.sh": "mktemp /tmp/a.XXXXXX\n"})

    def test_stray_files(self):
        self.one({"src/model/gguf.o": b"x"}, "generated files are not committed")
        self.one({"docs/film.bin": b"x" * (tidy.BLOB_BYTES_MAX + 1)}, "larger than")

    def test_file_names(self):
        self.one({"src/model/GgufReader.h": "#pragma once\nnamespace exomesh::model {}\n"}, "snake_case")
        self.one({"tools/two-words.py": "\n"}, "snake_case")
        self.none({"src/model/corpus/gguf_fuzz/Any Name": b"x", ".clang-tidy": "x\n"})

    def test_machine_paths(self):
        self.one({"docs/a.md": "see /wo" "rk/main\n"}, "docs/a.md:1: machine-path")
        self.one({"docs/a.md": "see /ho" "me/anna/x\n"}, "docs/a.md:1: machine-path")
        self.none({"docs/a.md": "https://example.org/wo" "rk/main and HOME=/root\n"})

    def test_text_form(self):
        self.one({"docs/a.md": "no end"}, "end the file with a newline")
        self.one({"docs/a.md": "a\r\n"}, "carriage returns")
        self.one(in_model("int a;\n\tint b;"), "gguf.cpp:3: text: indent with spaces")


class Functions(unittest.TestCase):
    def names(self, code: str) -> list[tuple[str, int, int]]:
        found = source_text.functions(source_text.without_literals(code))
        return [(f.name, f.line, f.line_count) for f in found]

    def test_functions_of_every_shape(self):
        code = """namespace a {
struct S {
    S() : x_{1}, y_(2) {
        call();
    }
    int get() const { return x_; }
    bool operator==(const S&) const = default;
};
const int table[] = {1, 2, 3};
auto value = make({1, 2});
template <typename T>
Result<T> S::read(T x,
                  int y) const noexcept -> T {
    if (x) {
        auto f = [&](int a) { return a; };
    }
    return "}";
}
extern "C" int entry(const char* s) { return 0; }
TEST(Suite, Name) {
}
}
"""
        expected = [("S", 3, 3), ("get", 6, 1), ("S::read", 11, 8), ("entry", 19, 1), ("TEST", 20, 2)]
        self.assertEqual(self.names(code), expected)

    def test_literals_keep_line_numbers(self):
        code = source_text.without_literals('/* a\nb */ x R"(1\n2)" "\\"" // c\ny')
        self.assertEqual(code.splitlines()[3], "y")
        self.assertNotIn("b", code)
        self.assertNotIn("2", code)


if __name__ == "__main__":
    unittest.main()
