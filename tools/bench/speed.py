"""Prefill and decode speed, each side's own bench command, in interleaved pairs."""

import json

from process import BenchError, output_of, pinned, say
from summary import interleaved, median, pair_ratio, spread
from table import Row


def parse(text: str) -> dict[tuple[int, int, int], float]:
    """llama-bench's JSON (a list of tests) → {(n_prompt, n_gen, n_depth): tokens per second}."""
    return {
        (test["n_prompt"], test["n_gen"], test.get("n_depth", 0)): median(test["samples_ts"] or [test["avg_ts"]])
        for test in json.loads(text[text.index("[") :])
    }


def label(key: tuple[int, int, int]) -> str:
    prompt, generated, depth = key
    return f"{'prefill' if prompt else 'decode'} {prompt or generated}" + (f" at depth {depth}" if depth else "")


def measure(sides: dict, model: str, threads: int, flags: list[str], pairs: int, device: str) -> dict:
    """{test: {"ours": [tokens/s a pair], "theirs": [...]}}"""
    samples: dict = {}
    for order in interleaved(pairs):
        for side in order:
            if sides[side] is None:
                continue
            command = pinned(sides[side].bench(model, threads, flags, device), threads)
            text = output_of(command)
            sides[side].refuse_figures(text, device)
            for test, speed in parse(text).items():
                samples.setdefault(test, {"ours": [], "theirs": []})[side].append(speed)
    return samples


def rows_of(name: str, threads: int, samples: dict, prefill_first: bool = True) -> list[Row]:
    rows = []
    for test in sorted(samples, key=lambda key: (key[2], not key[0] if prefill_first else bool(key[0]))):
        ours, theirs = samples[test]["ours"], samples[test]["theirs"]
        if not ours or (theirs and len(ours) != len(theirs)):
            raise BenchError(f"the two sides did not run the same tests: {label(test)}")
        row = Row(f"{name}, {label(test)}, {threads} threads", "tok/s", median(ours))
        if theirs:
            low, high = spread(ours, theirs)
            row.theirs, row.ratio = median(theirs), pair_ratio(ours, theirs)
            row.target, row.met = ">= 1.00x", row.ratio >= 1.0
            row.note = f"{len(ours)} pairs, {low:.2f}..{high:.2f}"
        rows.append(row)
    return rows


def run(sides: dict, models: list[tuple[str, str]], plan) -> tuple[list[Row], dict]:
    rows, details = [], {}
    for name, path in models:
        for threads in plan.threads:
            for depth in plan.depths:
                say(f"speed: {name}, {threads} threads, depth {depth}, {plan.pairs} pairs")
                flags = ["-p", str(plan.prompt), "-n", str(plan.generate), "-d", str(depth)]
                flags += ["-r", str(plan.repetitions)]
                samples = measure(sides, path, threads, flags, plan.pairs, plan.device)
                rows += rows_of(name, threads, samples)
                details |= {f"{name}/{threads}/{label(test)}": value for test, value in samples.items()}
    return rows, details
