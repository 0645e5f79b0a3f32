#!/usr/bin/env python3
"""Tests of the benchmark's pure functions, and of its client against a small server of our own."""

import argparse
import http.server
import json
import math
import pathlib
import struct
import tempfile
import threading
import unittest
from unittest import mock

import compare
import gguf_facts
import kl
import links
import links_chart
import links_model
import load
import parity
import process
import ranks
import shards
import speed
import streams
import summary
import texts
from contenders import LlamaCpp, library_version
from table import Row, render


class SummaryTest(unittest.TestCase):
    def test_percentile_is_a_measured_value(self):
        self.assertEqual(summary.percentile([5, 1, 3, 2, 4], 50), 3)
        self.assertEqual(summary.percentile(list(range(1, 101)), 99), 99)
        self.assertEqual(summary.percentile([7], 99), 7)

    def test_a_ratio_is_taken_within_pairs(self):
        # The machine halves its speed after the first pair; within each pair we are 10 % faster.
        self.assertAlmostEqual(summary.pair_ratio([110, 55, 55], [100, 50, 50]), 1.1)
        self.assertEqual(summary.spread([2, 3], [1, 3]), (1, 2))
        with self.assertRaises(ValueError):
            summary.pair_ratio([1, 2], [1])

    def test_the_first_one_alternates(self):
        self.assertEqual(summary.interleaved(3), [("ours", "theirs"), ("theirs", "ours"), ("ours", "theirs")])
        self.assertEqual(summary.interleaved(2, ("a", "b", "c")), [("a", "b", "c"), ("c", "b", "a")])

    def test_divergence_of_whole_distributions(self):
        p, q = {1: math.log(0.5), 2: math.log(0.5)}, {1: math.log(0.25), 2: math.log(0.75)}
        self.assertAlmostEqual(summary.divergence(p, q), 0.5 * math.log(2) + 0.5 * math.log(2 / 3), places=6)
        self.assertAlmostEqual(summary.divergence(p, p), 0, places=9)

    def test_divergence_puts_what_one_side_lacks_into_the_rest(self):
        p = {1: math.log(0.6), 2: math.log(0.3)}
        q = {1: math.log(0.6), 3: math.log(0.3)}
        self.assertAlmostEqual(summary.divergence(p, q), 0, places=9)  # 0.4 of the rest on both sides
        self.assertGreater(summary.divergence(p, {1: math.log(0.9)}), 0.2)

    def test_first_difference(self):
        self.assertIsNone(summary.first_difference([1, 2], [1, 2]))
        self.assertEqual(summary.first_difference([1, 2, 3], [1, 5, 3]), 1)
        self.assertEqual(summary.first_difference([1], [1, 2]), 1)


class SpeedTest(unittest.TestCase):
    OUTPUT = """noise before [{"n_prompt": 256, "n_gen": 0, "n_depth": 1024, "avg_ts": 1, "samples_ts": [3, 1, 2]},
        {"n_prompt": 0, "n_gen": 64, "n_depth": 1024, "avg_ts": 5, "samples_ts": []}]"""

    def test_reads_llama_bench(self):
        output = self.OUTPUT[self.OUTPUT.index("[") :]
        self.assertEqual(speed.parse(output), {(256, 0, 1024): 2, (0, 64, 1024): 5})

    def test_rows_carry_the_verdict(self):
        samples = {(0, 64, 0): {"ours": [10, 11], "theirs": [10, 10]}, (256, 0, 0): {"ours": [9], "theirs": [10]}}
        prefill, decode = speed.rows_of("model", 2, samples)
        self.assertEqual((prefill.what, prefill.met), ("model, prefill 256, 2 threads", False))
        self.assertEqual((decode.what, decode.met), ("model, decode 64, 2 threads", True))

    def test_sides_that_ran_different_tests_are_refused(self):
        with self.assertRaises(process.BenchError):
            speed.rows_of("model", 1, {(0, 64, 0): {"ours": [], "theirs": [1]}})


class DeviceTest(unittest.TestCase):
    RIVAL = LlamaCpp.__new__(LlamaCpp)  # without its root

    def test_the_rival_computes_on_the_same_device(self):
        self.assertEqual(self.RIVAL.place("cpu"), ["-dev", "none"])
        self.assertEqual(self.RIVAL.place("vulkan1"), ["-ngl", "99", "-dev", "Vulkan1"])
        for device in ("auto", "cuda0"):
            with self.assertRaises(process.BenchError):
                self.RIVAL.place(device)

    def test_figures_of_another_device_are_refused(self):
        def text(**used: str) -> str:
            return "noise [" + json.dumps({"backends": "Vulkan", **used}) + "]"

        self.RIVAL.refuse_figures(text(devices="Vulkan1", gpu_info="NVIDIA H200"), "vulkan1")
        self.RIVAL.refuse_figures(text(devices="none", gpu_info=""), "cpu")
        for used in ({"devices": "Vulkan1", "gpu_info": ""}, {"devices": "auto", "gpu_info": "NVIDIA H200"},
                     {"devices": "Vulkan10", "gpu_info": "NVIDIA H200"}, {}):  # fmt: skip
            with self.assertRaises(process.BenchError):
                self.RIVAL.refuse_figures(text(**used), "vulkan1")


class RpcTest(unittest.TestCase):
    RIVAL = LlamaCpp.__new__(LlamaCpp)

    def test_the_rival_has_all_of_the_model_on_its_servers(self):
        self.RIVAL.root = "/root-of-rival"
        command = " ".join(self.RIVAL.rpc_bench("m.gguf", [7, 8], "tensor", ["-p", "4"]))
        self.assertIn("-t 1 --rpc 127.0.0.1:7,127.0.0.1:8 -dev RPC0/RPC1 -ngl 99 -sm tensor", command)
        with self.assertRaisesRegex(process.BenchError, "/root-of-rival has no ggml-rpc-server"):
            self.RIVAL.rpc_server(7)

    def test_figures_of_other_devices_are_refused(self):
        right = {"devices": "RPC0/RPC1", "split_mode": "layer", "gpu_info": "127.0.0.1:7, 127.0.0.1:8"}
        self.RIVAL.refuse_rpc_figures(json.dumps([right]), [7, 8], "layer")
        for wrong in ({"devices": "none"}, {"split_mode": "none"}, {"gpu_info": "127.0.0.1:7"}):
            with self.assertRaisesRegex(process.BenchError, "RPC servers by layer"):
                self.RIVAL.refuse_rpc_figures(json.dumps([right | wrong]), [7, 8], "layer")

    def test_a_server_that_fails_is_named(self):
        with self.assertRaisesRegex(process.BenchError, "(?s)sh -c .*ended.*did not come up.*no such device"):
            with process.server(["sh", "-c", "echo no such device; : ended"], process.free_port(), ""):
                self.fail("it never listened")

    def test_the_better_of_its_ways_counts(self):
        of = {"2 ranks": [50], "4 ranks": [40], "theirs": [50], "one process": [50], "RPC by layers": [25],
              "RPC by tensor": [10]}  # fmt: skip
        found = shards.speed_rows("m", (0, 64, 0), of)
        rows = {row.what.partition("against ")[2].partition(" on")[0]: row for row in found}
        self.assertEqual((rows["RPC by layers"].ratio, rows["RPC by layers"].met), (2, False))
        self.assertEqual((rows["RPC by tensor"].ratio, rows["RPC by tensor"].met), (5, None))
        del of["RPC by layers"], of["RPC by tensor"]  # another exomesh has none
        self.assertEqual(len(shards.speed_rows("m", (256, 0, 0), of)), 3)


class ModelsTest(unittest.TestCase):
    def test_the_large_model_is_measured_when_named_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            chosen = argparse.Namespace(cache=pathlib.Path(folder), exomesh=pathlib.Path("exomesh"), quick=False, model=None)
            for file, _ in compare.RANDOM_SHAPES.values():
                path = chosen.cache / "models" / file
                path.parent.mkdir(exist_ok=True)
                path.touch()
            with (mock.patch.object(compare, "fetched", lambda cache, name: name),
                  mock.patch.object(compare, "dequantized", lambda cache, exomesh, source: str(source))):  # fmt: skip
                names = {name for part in compare.PARTS for name, _ in compare.models_for(part, chosen)}
                self.assertEqual(names, set(compare.TITLES.values()) - {compare.TITLES["random-8b"]})
                chosen.model = ["random-8b"]
                self.assertEqual(compare.models_for("speed", chosen), [("random 8B Q4_0", str(path))])

    def test_the_model_with_f32_weights_is_made_once(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            source, exomesh = folder / "small.Q4_1.gguf", folder / "exomesh"
            source.write_bytes(b"12345")
            with self.assertRaisesRegex(process.BenchError, "./dev build dequantize_model"):
                compare.dequantized(folder, exomesh, source)
            maker = folder / "dequantize_model"
            maker.write_text('#!/bin/sh\necho made >>"$2"\n')
            maker.chmod(0o755)
            made = [compare.dequantized(folder, exomesh, source) for _ in range(2)]
            self.assertEqual(made, [str(folder / "models/small.Q4_1-5.f32.gguf")] * 2)
            self.assertEqual(pathlib.Path(made[0]).read_text(), "made\n")
            maker.write_text("#!/bin/sh\nexit 1\n")
            source.write_bytes(b"123456")  # another model
            with self.assertRaises(process.BenchError):
                compare.dequantized(folder, exomesh, source)

    def test_enough_positions_are_compared(self):
        # llama-server tells nothing about the 3 % of them where the best token is a piece of a character.
        plan = compare.Plan()
        self.assertGreater(plan.kl_chunks * plan.kl_length * 4847 / 5000, 5000)


class StreamsTest(unittest.TestCase):
    def test_figures_of_a_round(self):
        a = load.StreamResult(first_s=0.1, gaps_s=[0.01, 0.03], completion_tokens=3, start=1.0, end=2.0)
        b = load.StreamResult(first_s=0.2, gaps_s=[0.02], completion_tokens=2, start=1.5, end=3.5)
        found = streams.figures([a, b])
        self.assertAlmostEqual(found["throughput"], 5 / 2.5)
        self.assertAlmostEqual(found["first_p99"], 200)
        self.assertAlmostEqual(found["gap_p50"], 20)

    def test_no_prompt_begins_like_another(self):
        made = [texts.streams_prompt(r, s, 600) for r in range(5) for s in range(8)]
        self.assertEqual(len({text[:12] for text in made}), 40)


class LinksTest(unittest.TestCase):
    @staticmethod
    def row(split: str, round_trip_ms: float, decode_ms: float, **more: float) -> dict:
        return {"split": split, "round_trip_ms": round_trip_ms, "rate_mbit": 0, "loss": 0,
                "decode_p50_ms": decode_ms} | more  # fmt: skip

    def test_solves_three_models_for_what_is_divided_and_what_is_not(self):
        rate, part, step, layers = 8000, 12, 150, 22
        sizes = {"whole": 600e6, "narrow": 330e6, "shallow": 340e6}
        times = {name: size / rate + 2 * (11 if name == "shallow" else layers) * part + step
                 for name, size in sizes.items()}  # fmt: skip
        found = links_model.solve(times, sizes, layers)
        self.assertAlmostEqual(found["read_bytes_per_s"], rate * 1e6, delta=1e3)
        self.assertAlmostEqual(found["part_us"], part, places=3)
        self.assertAlmostEqual(found["step_us"], step, places=2)

    def test_where_a_tensor_group_stops_being_faster(self):
        rows = [self.row("one", 0, 50), self.row("tensor 2", 0, 30), self.row("tensor 2", 1, 70),
                self.row("tensor 2", 0.3, 35, loss=0.01)]  # fmt: skip
        self.assertAlmostEqual(links_model.crossing(rows, "tensor 2", "one"), 0.5)
        rows += [self.row("pipeline 2", 0, 52), self.row("pipeline 2", 1, 54)]
        self.assertAlmostEqual(links_model.crossing(rows, "tensor 2", "pipeline 2"), 22 / 38)
        self.assertIsNone(links_model.crossing([self.row("tensor 2", 0, 60), *rows[:1]], "tensor 2", "one"))

    def test_takes_as_many_tokens_as_there_is_time_for(self):
        plan = links.FULL
        self.assertEqual(links.tokens_for(plan, "one", 30, links.Point(0), 1), plan.tokens)
        self.assertEqual(links.tokens_for(plan, "tensor 2", 30, links.Point(10), 20), plan.tokens_min)

    def test_draws_a_dot_for_each_measured_delay(self):
        rows = [{"split": "tensor 2", "round_trip_ms": ms, "decode_p50_ms": 20 + ms, "predicted_decode_ms": 20 + ms}
                for ms in (0, 1, 10)]  # fmt: skip
        drawn = "".join(links_chart.Panel("a model", rows, 60, 400).draw())
        self.assertEqual(drawn.count("<circle"), 3)
        self.assertEqual(drawn.count("<polyline"), 1)


class TextsTest(unittest.TestCase):
    def test_prompts_are_reproducible_and_grow(self):
        first = texts.prompts(20, 3400)
        self.assertEqual(first, texts.prompts(20, 3400))
        self.assertEqual(len(set(first)), 20)
        self.assertTrue(all(40 <= len(text) <= 3400 for text in first))
        self.assertLess(len(first[0]), 400)
        self.assertGreater(len(first[19]), 2500)


class ParityTest(unittest.TestCase):
    CHAT_FORM = {"content": [
        {"token": "?", "bytes": [0xC3, 0xA9], "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -2.1}]},
    ]}  # fmt: skip
    COMPLETION_FORM = {"tokens": ["é"], "token_logprobs": [-0.1], "top_logprobs": [{"x": -2.1, "é": -0.1}]}

    def test_both_forms_of_logprobs_read_the_same(self):
        self.assertEqual(parity.steps_of(self.CHAT_FORM), parity.steps_of(self.COMPLETION_FORM))
        self.assertEqual(parity.steps_of(self.CHAT_FORM), [parity.Step("é", [-0.1, -2.1])])

    def test_the_gap_at_the_first_difference(self):
        ours = parity.Answer("ab", [parity.Step("a", [-0.1, -3]), parity.Step("b", [-0.70, -0.75])], 7)
        theirs = parity.Answer("ac", [parity.Step("a", [-0.1, -3]), parity.Step("c", [-0.71, -0.72])], 7)
        result = parity.compare(ours, theirs)
        self.assertEqual((result["at"], result["tokens"]), (1, ["b", "c"]))
        self.assertAlmostEqual(max(result["gaps"]), 0.05)
        count, gaps = parity.rows_of("SmolLM2", [result] + [{"same": True, "prompt_tokens": [3, 3]}] * 19, [])
        self.assertEqual((count.ours, count.met, gaps.met), (19, True, True))

    def test_the_reference_against_itself_stands_beside(self):
        different = {"same": False, "prompt_tokens": [3, 3], "at": 1, "gaps": [0.1, 0.4]}
        same = {"same": True, "prompt_tokens": [3, 3]}
        count, gaps = parity.rows_of("Gemma", [different, same], [same, different])
        self.assertEqual((count.ours, count.theirs, gaps.ours, gaps.met), (1, 1, 0.4, False))

    def test_other_prompt_tokens_are_told(self):
        rows = parity.rows_of("Gemma", [{"same": True, "prompt_tokens": [3, 4]}], [])
        self.assertFalse(rows[-1].met)


class RanksTest(unittest.TestCase):
    RESULTS = [{"same": True}, {"same": False, "gaps": [0.1, 0.2]}]

    def verdict(self, name: str, exact: bool) -> tuple[str, bool | None]:
        cut = next(cut for cut in ranks.CUTS if cut.name == name)
        row = ranks.text_row("model", cut, self.RESULTS, exact)
        self.assertEqual(row.ours, 1)
        self.assertIn("2.0e-01 nat", row.note)
        return row.target, row.met

    def test_equal_texts_are_asked_of_pipelines_and_of_f32_weights(self):
        self.assertEqual(self.verdict("pipeline 2", exact=False), (">= 2", False))
        self.assertEqual(self.verdict("tensor 3", exact=True), (">= 2", False))
        for name in ("tensor 3", "tensor 0.7/0.3", "hybrid 2x2"):
            self.assertEqual(self.verdict(name, exact=False), ("", None))

    def test_the_file_says_whether_its_weights_are_f32(self):
        key = GgufTest.string("general.file_type")
        with tempfile.NamedTemporaryFile() as file:
            for kind, exact in ((0, True), (3, False)):
                data = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + struct.pack("<II", 4, kind)
                pathlib.Path(file.name).write_bytes(data)
                self.assertEqual(ranks.is_exact(file.name), exact)


class KlTest(unittest.TestCase):
    def test_reads_our_logits(self):
        text = 'x\n{"position": 1, "top": [[7, -0.5]]}\n{"position": 0, "top": [[3, -0.1], [4, -3]]}\n'
        self.assertEqual(kl.parse(text), [{3: -0.1, 4: -3}, {7: -0.5}])


class GgufTest(unittest.TestCase):
    def test_cache_bytes_from_metadata(self):
        facts = {"llama.block_count": 30, "llama.attention.head_count": 9, "llama.attention.head_count_kv": 3,
                 "llama.embedding_length": 576}  # fmt: skip
        data = b"GGUF" + struct.pack("<IQQ", 3, 0, len(facts) + 2)
        data += self.string("general.architecture") + struct.pack("<I", 8) + self.string("llama")
        data += self.string("list") + struct.pack("<IIQ", 9, 8, 2) + self.string("a") + self.string("b")
        for key, value in facts.items():
            data += self.string(key) + struct.pack("<II", 4, value)
        read = gguf_facts.metadata(data)
        self.assertEqual(read["list"], ["a", "b"])
        self.assertEqual(gguf_facts.kv_cache_bytes(read, 1024), 30 * 1024 * 3 * 128 * 2)

    @staticmethod
    def string(text: str) -> bytes:
        return struct.pack("<Q", len(text)) + text.encode()


class ProcessTest(unittest.TestCase):
    def test_status_fields(self):
        self.assertEqual(process.status_bytes("Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t  12 kB\n", "VmRSS"), 12288)
        with self.assertRaises(process.BenchError):
            process.status_bytes("Name:\tx\n", "VmRSS")

    def test_all_but_idle_time_is_busy(self):
        ticks = process.os.sysconf("SC_CLK_TCK")
        text = f"cpu  {ticks} 0 {2 * ticks} {900 * ticks} {50 * ticks} 0 0 {ticks} 0 0\ncpu0 1 1 1 1\n"
        self.assertEqual(process.machine_busy_seconds(text), 4)

    def test_more_threads_than_cores_are_refused(self):
        with self.assertRaises(process.BenchError):
            process.cores(100_000)


class TableTest(unittest.TestCase):
    def test_renders_columns_of_one_width(self):
        text = render(["title"], [Row("a", "ms", 1234.5, 0.0004, 1.5, ">= 1", False)], ("x", "y"))
        lines = text.splitlines()[2:]
        self.assertEqual(len({len(line) for line in lines}), 1)
        for part in ("1234", "4.0e-04", "1.500x", "NO"):
            self.assertIn(part, lines[-1])


class LibraryVersionTest(unittest.TestCase):
    def test_a_file_without_a_version(self):
        self.assertEqual(library_version(pathlib.Path("/nowhere/libggml-base.so.0.27.0")), "0.27.0")
        self.assertEqual(library_version(pathlib.Path("/nowhere/libggml-base.so")), "unknown")


class StreamHandler(http.server.BaseHTTPRequestHandler):
    """Three tokens as server-sent events, cut into chunks at places a parser must survive."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        events = [{"choices": [{"text": text}]} for text in body["prompt"]]
        events.append({"choices": [], "usage": {"completion_tokens": 3}})
        whole = "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in events) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(whole), 7):
            piece = whole[start : start + 7].encode()
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


class LoadTest(unittest.TestCase):
    def test_dechunker_takes_any_cut(self):
        whole = b"4;x=y\r\nWiki\r\n6\r\npedia \r\n3\r\nin\n\r\n0\r\n\r\n"
        for size in range(1, len(whole) + 1):
            dechunker = load.Dechunker()
            out = b"".join(dechunker.feed(whole[i : i + size]) for i in range(0, len(whole), size))
            self.assertEqual(out, b"Wikipedia in\n")
            self.assertTrue(dechunker.ended)

    def test_event_parser_waits_for_the_line_end(self):
        parser = load.EventParser()
        self.assertEqual(parser.feed(b"data: a\n\ndata: b"), [b"a"])
        self.assertEqual(parser.feed(b"c\r\n: comment\n"), [b"bc"])

    def test_streams_are_read_to_their_ends(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StreamHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            results = load.streams(server.server_port, [{"prompt": ["a", "b", "c"]}] * 4)
        finally:
            server.shutdown()
            server.server_close()
        self.assertEqual([(r.completion_tokens, len(r.gaps_s)) for r in results], [(3, 2)] * 4)
        self.assertTrue(all(r.start + r.first_s <= r.end for r in results))


if __name__ == "__main__":
    unittest.main()
