#!/usr/bin/env python3
"""`exomesh models`, `bench`, `doctor`, `version` and the hidden `logits`."""

import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

import program
from program import CORRUPT, MODEL, NOT_FOUND, USAGE, ProgramTest, exomesh

SOURCE = pathlib.Path(__file__).resolve().parents[2]


class Models(ProgramTest):
    def test_the_catalogue_is_what_dev_fetches(self):
        sys.path.insert(0, str(SOURCE / "tools/dev"))
        import fetch_model

        listed = json.loads(exomesh("models", "--json").stdout)["models"]
        files = {model["name"]: model["file"] for model in listed if model["how_to_get"]}
        self.assertEqual(files, {name: model["file"] for name, model in fetch_model.MODELS.items()})

    def test_a_folder_of_ones_own(self):
        shutil.copy(MODEL, self.folder / "mine.gguf")
        own = {"EXOMESH_MODELS": str(self.folder)}
        listed = json.loads(exomesh("models", "--json", **own).stdout)["models"]
        mine = next(model for model in listed if model["name"] == "mine")
        self.assertEqual(mine["path"], str(self.folder / "mine.gguf"))
        self.assertIn("mine", exomesh("models", **own).stdout)
        self.succeeds(exomesh("models", "mine", **own))

    def test_facts_of_a_file(self):
        facts = json.loads(exomesh("models", MODEL, "--json").stdout)
        self.assertEqual((facts["family"], facts["layer_count"]), ("llama", 30))
        self.assertEqual(facts["file_bytes"], pathlib.Path(MODEL).stat().st_size)
        self.assertIn("134.52 M", exomesh("models", MODEL).stdout)

    def test_errors(self):
        self.fails(exomesh("models", "/nonexistent.gguf"), NOT_FOUND, "nonexistent")
        (self.folder / "bad.gguf").write_bytes(b"GGUF" + b"\xff" * 100)
        self.assertIn(exomesh("models", str(self.folder / "bad.gguf")).returncode, (CORRUPT, program.UNSUPPORTED))


class Bench(ProgramTest):
    tiny = ("bench", "-m", MODEL, "-t", "1", "--device", "cpu", "-r", "2")

    def test_the_table(self):
        result = exomesh(*self.tiny, "-p", "16", "-n", "4", "-ub", "8", "-fa", "1", "-ctk", "f16")
        self.succeeds(result)
        head, rule, prompt, generated = result.stdout.splitlines()
        columns = [column.strip() for column in head.strip("|").split("|")]
        self.assertEqual(columns, ["model", "size", "params", "backend", "threads", "test", "t/s"])
        self.assertEqual(set(rule), set("|-: "))
        self.assertIn("| pp16 |", " ".join(prompt.split()))
        self.assertIn("| tg4 |", " ".join(generated.split()))

    def test_lists_may_be_written_in_either_way(self):
        for lengths in (("-p", "8,16"), ("-p", "8", "-p", "16"), ("--n-prompt=8,16",)):
            with self.subTest(lengths=lengths):
                result = exomesh(*self.tiny, *lengths, "-n", "0", "-o", "json")
                self.succeeds(result)
                self.assertEqual([entry["n_prompt"] for entry in json.loads(result.stdout)], [8, 16])

    def test_one_process_that_auto_chose_has_no_links(self):
        result = exomesh(*self.tiny, "-p", "0", "-n", "4", "--local", "2", "--split", "auto")
        self.succeeds(result)
        self.assertIn("[split: one process, ", result.stderr)
        self.assertNotIn("links", result.stdout)
        self.assertIn("| one process |", " ".join(result.stdout.split()))

    def test_json(self):
        result = exomesh(*self.tiny, "-p", "8,16", "-n", "0", "-d", "0,4", "-o", "json")
        self.succeeds(result)
        entries = json.loads(result.stdout)
        shapes = [(entry["n_prompt"], entry["n_gen"], entry["n_depth"]) for entry in entries]
        self.assertEqual(shapes, [(8, 0, 0), (16, 0, 0), (8, 0, 4), (16, 0, 4)])
        for entry in entries:
            self.assertEqual(len(entry["samples_ns"]), 2)
            speeds = [entry["n_prompt"] * 1e9 / sample for sample in entry["samples_ns"]]
            self.assertAlmostEqual(entry["avg_ts"], sum(speeds) / 2, delta=entry["avg_ts"] * 0.01)

    def test_errors(self):
        self.fails(exomesh(*self.tiny[:3], "-p", "0", "-n", "0"), USAGE, "nothing to measure")
        self.fails(exomesh(*self.tiny[:3], "-p", "x"), USAGE, "-p wants numbers")
        self.fails(exomesh(*self.tiny[:3], "-p", "1,"), USAGE, "-p wants numbers")
        self.fails(exomesh(*self.tiny[:3], "-t", ""), USAGE, "-t wants numbers of threads")
        self.fails(exomesh(*self.tiny[:3], "-t", "1,5000"), USAGE, "-t wants numbers of threads up to 512")
        self.fails(exomesh(*self.tiny[:3], "-ub", "70000"), USAGE, "ubatch-size.*8192")
        self.fails(exomesh(*self.tiny[:3], "-ngl", "12"), program.UNSUPPORTED, "12.*30 layers.*-ngl 99 or 0")
        self.fails(exomesh(*self.tiny[:3], "-ngl", "-2"), USAGE, "n-gpu-layers")

    def test_what_llama_bench_says_for_all_layers(self):
        for layers in ("0", "30", "99", "-1"):
            with self.subTest(layers=layers):
                self.succeeds(exomesh(*self.tiny, "-p", "8", "-n", "0", "-ngl", layers))

    def test_a_path_that_is_no_utf_8(self):
        path = os.fsdecode(os.fsencode(self.folder) + b"/model-\xff.gguf")
        os.symlink(pathlib.Path(MODEL).resolve(), path)
        result = exomesh("bench", "-m", path, *self.tiny[3:], "-p", "8", "-n", "0", "-o", "json")
        self.succeeds(result)
        self.assertTrue(json.loads(result.stdout)[0]["model_filename"].endswith("model-\ufffd.gguf"))

    def test_beyond_the_trained_context(self):
        model = self.synthetic_model(context=64)
        result = exomesh("bench", "-m", model, "-t", "1", "--device", "cpu", "-r", "1", "-p", "96", "-n", "0",
                         "-d", "32")  # fmt: skip
        self.succeeds(result)
        self.assertIn("pp96 @ d32", result.stdout)


class Logits(ProgramTest):
    def test_distributions(self):
        tokens = self.folder / "tokens"
        tokens.write_text("1 253 3 1201 5\n")
        result = exomesh("logits", MODEL, "--tokens", str(tokens), "--top", "3", "--device", "cpu")
        self.succeeds(result)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([line["position"] for line in lines], list(range(5)))
        for line in lines:
            logprobs = [logprob for _, logprob in line["top"]]
            self.assertEqual(logprobs, sorted(logprobs, reverse=True))
            self.assertLess(sum(map(math.exp, logprobs)), 1.0)
        self.fails(exomesh("logits", MODEL, "--tokens", "/nonexistent"), NOT_FOUND, "nonexistent")

    def test_perplexity_is_that_of_the_distributions(self):
        text = self.folder / "text"
        text.write_text("The sun rises in the east and sets in the west. " * 3)
        common = ("logits", MODEL, "--text", str(text), "--device", "cpu", "--chunk", "16", "--weights", "exact")
        result = exomesh(*common, "--perplexity", "--window", "20")
        self.succeeds(result)
        *windows, whole = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(whole["tokens"], sum(window["tokens"] for window in windows))
        total = sum(window["negative_log_likelihood"] for window in windows)
        self.assertAlmostEqual(whole["mean_negative_log_likelihood"], total / whole["tokens"], places=9)
        self.assertAlmostEqual(whole["perplexity"], math.exp(total / whole["tokens"]), places=6)
        self.assertLess(whole["perplexity"], 20)  # it says the same three times
        together = exomesh(*common, "--perplexity", "--window", "20", "--local", "3", "--wire", "f32")
        self.succeeds(together)
        other = json.loads(together.stdout.splitlines()[-1])
        means = [found["mean_negative_log_likelihood"] for found in (other, whole)]
        self.assertAlmostEqual(means[0], means[1], delta=0.05)  # sums in another order


class Doctor(ProgramTest):
    def test_json(self):
        result = exomesh("doctor", "--json", "--no-benchmark")
        self.succeeds(result)
        diagnosis = json.loads(result.stdout)
        self.assertEqual(diagnosis["problems"], [])
        self.assertIn("cpu", [device["id"] for device in diagnosis["devices"]])
        self.assertTrue(all(device["self_test_passed"] for device in diagnosis["devices"]))

    def test_text(self):
        result = exomesh("doctor", "--no-benchmark")
        self.succeeds(result)
        self.assertIn("Everything that is here works.", result.stdout)

    def test_speeds_are_measured_when_asked_for_and_kept(self):
        cache = {"XDG_CACHE_HOME": str(self.folder)}

        def speed(*arguments: str) -> dict:
            result = exomesh("doctor", "--json", "--no-benchmark", *arguments, **cache)
            self.succeeds(result)
            return json.loads(result.stdout)["devices"][0]["speed"]

        self.assertIsNone(speed())
        measured = speed("--bench")
        self.assertIn("q4_0", [weight["type"] for weight in measured["weights"]])
        for weight in measured["weights"]:
            self.assertGreater(weight["decode_bytes_per_s"], 1e6)
            self.assertGreater(weight["prefill_flop_per_s"], 1e6)
        self.assertEqual(speed(), measured)
        self.assertIn("q4_0  decodes ", exomesh("doctor", "--no-benchmark", **cache).stdout)

    def test_a_first_self_test_is_announced(self):
        cache = {"XDG_CACHE_HOME": str(self.folder)}
        self.assertIn("testing cpu", exomesh("doctor", "--no-benchmark", **cache).stderr)
        self.assertNotIn("testing", exomesh("doctor", "--no-benchmark", **cache).stderr)

    def test_self_tests_can_be_left_out(self):
        off = {"XDG_CACHE_HOME": str(self.folder), "EXOMESH_SELF_TEST": "off"}
        result = exomesh("doctor", "--json", "--no-benchmark", **off)
        self.succeeds(result)
        self.assertNotIn("testing", result.stderr)
        for device in json.loads(result.stdout)["devices"]:
            self.assertIsNone(device["self_test_passed"])
            self.assertEqual(device["self_test"], "not run: EXOMESH_SELF_TEST=off")

    def test_no_backends_is_a_failure(self):
        result = exomesh("doctor", "--no-benchmark", EXOMESH_BACKENDS=str(self.folder))
        self.assertEqual(result.returncode, program.FAILED)
        self.assertIn("Broken: ", result.stdout)


class Version(ProgramTest):
    def test_version(self):
        result = exomesh("version")
        self.succeeds(result)
        self.assertRegex(result.stdout, r"^exomesh \d+\.\d+\.\d+ \(ggml .+\)\n$")
        self.assertEqual(exomesh("--version").stdout, result.stdout)


class Linking(unittest.TestCase):
    def test_no_surprising_library(self):
        if not program.BINARY:
            self.skipTest("set EXOMESH_BINARY")
        listed = subprocess.run(["ldd", program.BINARY], capture_output=True, text=True, check=True).stdout
        self.assertNotIn("not found", listed)


if __name__ == "__main__":
    unittest.main()
