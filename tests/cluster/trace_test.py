#!/usr/bin/env python3
"""Traces and figures of real clusters: every rank is there, and what they say of the time adds up."""

import collections
import json
import re
import unittest

from cluster import GREEDY, PROMPT, ClusterTest
from program import FAILED, MODEL, exomesh

TOKENS = 8
LAYERS = 30  # of the model
ROUNDING_US = 0.0015  # times are whole nanoseconds


class Trace:
    """A trace file, checked to be one that viewers take."""

    def __init__(self, text: str):
        self.json = json.loads(text)
        self.about = self.json["otherData"]["ranks"]
        self.spans = collections.defaultdict(list)  # by rank, in the file's order
        self.names = {}
        for event in self.json["traceEvents"]:
            if event["ph"] == "X":
                self.spans[event["pid"]].append(event)
            elif event["ph"] == "M" and event["name"] == "process_name":
                self.names[event["pid"]] = event["args"]["name"]

    def of_kind(self, rank: int, name: str) -> list[dict]:
        return [span for span in self.spans[rank] if span["name"] == name]

    def uncertainty_us(self, *ranks: int) -> float:
        return sum(self.about[rank]["clock_uncertainty_us"] for rank in ranks)


def end(span: dict) -> float:
    return span["ts"] + span["dur"]


class TraceTest(ClusterTest):
    def trace(self, *arguments: str, tokens: int = TOKENS, prompt: str = PROMPT) -> tuple[Trace, str]:
        path = self.folder / "trace.json"
        result = exomesh("trace", MODEL, prompt, *GREEDY, "--max-tokens", str(tokens), "-o", str(path), *arguments)
        self.succeeds(result)
        self.assertGreater(len(result.stdout), 10)
        self.assertRegex(result.stderr, rf"\[\d+ spans of \d+ ranks? in {re.escape(str(path))}; open it in https")
        return Trace(path.read_text()), result.stdout

    def check_spans(self, trace: Trace, ranks: int) -> None:
        """They are ordered, and nest or follow each other; nothing was dropped."""
        self.assertEqual(sorted(trace.names), list(range(ranks)))
        self.assertEqual(len(trace.about), ranks)
        for rank in range(ranks):
            self.assertRegex(trace.names[rank], rf"^rank {rank}: cpu")
            self.assertEqual(trace.about[rank]["spans_dropped"], 0)
            self.assertEqual(trace.about[rank]["spans"], len(trace.spans[rank]))
            around = []
            last = 0
            for span in trace.spans[rank]:
                self.assertGreaterEqual(span["ts"], last)
                last = span["ts"]
                while around and around[-1] <= span["ts"] + ROUNDING_US:
                    around.pop()
                if around:
                    self.assertLessEqual(end(span), around[-1] + ROUNDING_US, span)
                around.append(end(span))
            self.assertEqual(len(trace.of_kind(rank, "step")), len(trace.of_kind(0, "step")))

    def check_coverage(self, trace: Trace, ranks: int) -> None:
        """What is within the steps makes up nearly all of them."""
        for rank in range(ranks):
            whole = sum(step["dur"] for step in trace.of_kind(rank, "step"))
            steps = [(step["ts"], end(step)) for step in trace.of_kind(rank, "step")]
            covered, until = 0.0, 0.0
            for span in trace.spans[rank]:
                if span["name"] in ("step", "wait for order", "logits in", "sample"):
                    continue
                begin = max(span["ts"], until)
                if any(first <= span["ts"] <= last for first, last in steps) and end(span) > begin:
                    covered += end(span) - begin
                    until = end(span)
            self.assertGreater(covered / whole, 0.95, f"rank {rank}")
            self.assertLess(covered / whole, 1.001, f"rank {rank}")

    def check_balance(self, trace: Trace) -> None:
        opened = collections.Counter(e["id"] for e in trace.json["traceEvents"] if e["ph"] == "b")
        closed = collections.Counter(e["id"] for e in trace.json["traceEvents"] if e["ph"] == "e")
        self.assertEqual(opened, closed)
        self.assertEqual(len(opened), len(trace.of_kind(0, "step")))

    def check_clocks(self, trace: Trace, ranks: int) -> None:
        self.assertEqual(trace.about[0]["clock_uncertainty_us"], 0)
        for rank in range(1, ranks):
            self.assertLess(trace.about[rank]["clock_uncertainty_us"], 20_000)
            # One machine has one clock.
            self.assertGreater(trace.about[rank]["clock_uncertainty_us"], 0)


class Tensor(TraceTest):
    def test_three_ranks(self):
        trace, _ = self.trace("--local", "3")
        self.check_spans(trace, 3)
        self.check_coverage(trace, 3)
        self.check_balance(trace)
        self.check_clocks(trace, 3)
        steps = trace.of_kind(0, "step")
        self.assertEqual([step["args"]["step"] for step in steps], list(range(len(steps))))
        self.check_sums(trace, 3, {step["args"]["step"] for step in steps if step["args"]["tokens"] == 1})

    def test_halves_of_a_prompt_that_overlap(self):
        """Each half has sums of its own: in a long prompt, and in nothing else."""
        counts = {}
        for overlap in ("on", "off"):
            trace, _ = self.trace("--local", "2", "--overlap", overlap, tokens=8, prompt=PROMPT * 8)
            counts[overlap] = collections.Counter(span["args"]["step"] for span in trace.of_kind(0, "sum"))
        first = min(counts["off"])
        # A sum has as many spans as its messages come in.
        self.assertGreater(counts["on"][first], 1.5 * counts["off"][first])
        self.assertLess(counts["on"][first + 1], 1.5 * counts["off"][first + 1])

    def check_sums(self, trace: Trace, ranks: int, decoding: set[int]) -> None:
        """Nobody has a peer's part before the peer began to send it."""

        def in_sums(rank: int, name: str) -> list[dict]:
            return [s for s in trace.of_kind(rank, name) if "layer" in s["args"] and s["args"]["step"] in decoding]

        sends = {}
        for rank in range(ranks):
            # Each sum starts and ends, which may be spans of their own.
            places = {self.place_of(span) for span in in_sums(rank, "sum")}
            self.assertEqual(len(places), 2 * LAYERS * len(decoding))
            for span in in_sums(rank, "send"):
                sends.setdefault((rank, self.place_of(span)), span)
        checked = 0
        for rank in range(ranks):
            for span in in_sums(rank, "wait"):
                peer = int(span["args"]["peer"].removeprefix("rank "))
                send = sends[peer, self.place_of(span)]
                self.assertGreaterEqual(end(span), send["ts"] - trace.uncertainty_us(rank, peer), (span, send))
                checked += 1
        self.assertGreaterEqual(checked, ranks * 2 * LAYERS * len(decoding))

    @staticmethod
    def place_of(span: dict) -> tuple[int, int, str]:
        return span["args"]["step"], span["args"]["layer"], span["args"]["sum"]

    def test_workers_that_run_on_their_own(self):
        home = self.new_home()
        _, address = self.start_worker(self.identity(home))
        path = self.folder / "trace.json"
        for _ in range(2):  # it records for one head after another
            result = exomesh("trace", MODEL, PROMPT, *GREEDY, "--max-tokens", "3", "-o", str(path),
                             "--peers", address, **home)  # fmt: skip
            self.succeeds(result)
            trace = Trace(path.read_text())
            self.check_spans(trace, 2)
            self.assertEqual(trace.about[1]["host"], address.split("/")[0])


class Pipeline(TraceTest):
    def test_two_stages(self):
        trace, _ = self.trace("--local", "2", "--split", "pipeline")
        self.check_spans(trace, 2)
        self.check_coverage(trace, 2)
        self.check_balance(trace)
        self.check_clocks(trace, 2)
        sent = trace.of_kind(0, "states out")
        received = trace.of_kind(1, "states in")
        self.assertEqual(len(sent), len(trace.of_kind(0, "step")))
        self.assertEqual([span["args"]["step"] for span in sent], [span["args"]["step"] for span in received])
        for out, into in zip(sent, received, strict=True):
            self.assertGreaterEqual(end(into), out["ts"] - trace.uncertainty_us(0, 1))
        self.assertEqual(len(trace.of_kind(0, "sum")), 0)


class OneProcess(TraceTest):
    def test_alone(self):
        trace, text = self.trace()
        self.check_spans(trace, 1)
        self.check_balance(trace)
        kinds = {span["name"] for span in trace.spans[0]}
        self.assertEqual(kinds, {"step", "inputs", "compute", "sample"})
        ran = exomesh("run", MODEL, PROMPT, *GREEDY, "--max-tokens", str(TOKENS))
        self.assertEqual(text, ran.stdout)

    def test_a_file_that_cannot_be_written(self):
        def fails(words: str, path: str) -> None:
            result = exomesh("trace", MODEL, PROMPT, *GREEDY, "--max-tokens", "2", "-o", path)
            self.assertEqual(result.returncode, FAILED, result.stderr)
            self.assertRegex(result.stderr, "error: cannot write .*" + words)

        fails("No such file or directory", str(self.folder / "missing" / "trace.json"))
        fails("No space left on device.*Make room", "/dev/full")


class Figures(ClusterTest):
    def run_with(self, *arguments: str):
        result = exomesh("run", MODEL, PROMPT, *GREEDY, "--max-tokens", str(TOKENS), *arguments)
        self.succeeds(result)
        return result

    def test_a_table_at_the_end(self):
        for split, ranks in (("tensor", 3), ("pipeline", 2)):
            with self.subTest(split=split):
                result = self.run_with("--local", str(ranks), "--split", split, "--cluster-figures")
                self.assertRegex(result.stderr, r"\[\d+ prompt tokens in 1 step, [\d.]+ ms\]")
                self.assertRegex(result.stderr, rf"\[{TOKENS - 1} decode steps: [\d.]+ / [\d.]+ ms each")
                rows = re.findall(r"^rank \d+ \(cpu\) .* (\d+) %$", result.stderr, re.MULTILINE)
                self.assertEqual(len(rows), ranks, result.stderr)
                self.assertAlmostEqual(sum(map(int, rows)), 100, delta=ranks)
                self.assertNotRegex(result.stderr, r"\[step \d")

    def test_a_prompt_may_follow(self):
        result = exomesh("run", MODEL, *GREEDY, "--max-tokens", "2", "--local", "2", "--cluster-figures", PROMPT)
        self.succeeds(result)
        self.assertRegex(result.stderr, r"(?m)^rank 1 \(cpu\) ")

    def test_a_line_for_each_token(self):
        result = self.run_with("--local", "3", "--cluster-figures", "token")
        lines = re.findall(
            r"^\[step (\d+), (\d+) tokens?: ([\d.]+) ms; compute ([\d.]+), sums ([\d.]+), waiting ([\d.]+) ms; "
            r"[\d.]+ KiB sent, [\d.]+ KiB received; slowest rank [012] \(cpu\), ([\d.]+) ms behind the fastest\]$",
            result.stderr, re.MULTILINE,
        )  # fmt: skip
        self.assertEqual([int(line[0]) for line in lines], list(range(TOKENS)), result.stderr)
        self.assertEqual([line[1] for line in lines[1:]], ["1"] * (TOKENS - 1))
        for _, _, total, compute, sums, waiting, _ in lines:
            self.assertLessEqual(float(compute) + float(sums), float(total) + 0.02)
            self.assertLessEqual(float(waiting), float(total))

    def test_json(self):
        result = self.run_with("--local", "2", "--cluster-figures", "--json")
        figures = json.loads(result.stdout)["cluster"]
        self.assertEqual(figures["decode_steps"], TOKENS - 1)
        self.assertEqual(len(figures["ranks"]), 2)
        for rank in figures["ranks"]:
            self.assertGreater(rank["compute_us"]["p50"], 0)
            self.assertGreater(rank["sent_bytes_per_step"], 1000)
            self.assertLessEqual(rank["sum_us"]["p50"], rank["sum_us"]["p99"])
        self.assertNotIn("cluster", json.loads(self.run_with("--local", "2", "--json").stdout))


if __name__ == "__main__":
    unittest.main(verbosity=2)
