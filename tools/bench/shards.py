"""Several ranks on the cores that one process of llama.cpp has, and a pipeline with one stream and four."""

import dataclasses
import json

import load
from process import free_port, output_of, pinned, server
from speed import parse
from streams import bodies, figures
from summary import interleaved, median, pair_ratio, spread
from table import Row

CORES = 2  # for all ranks together
STREAMS = 4
PROMPT_CHARACTERS = 40


def ranks_bench(contender, model: str, ranks: int, flags: list[str]) -> list[str]:
    command = [contender.binary, "bench", "-m", model, "--local", str(ranks), "--split", "tensor", "-t", "1",
               "--device", "cpu", "-o", "json", *flags]  # fmt: skip
    return pinned(command, CORES)


def sums_of(text: str) -> dict:
    """The figures of one all-reduce in the bench's output."""
    return next((test["sums"] for test in json.loads(text[text.index("["):]) if test.get("sums")), {})


def ranks_rows(sides: dict, name: str, model: str, plan) -> tuple[list[Row], dict]:
    """Two ranks against the rival's two threads; four ranks against two."""
    flags = ["-p", str(plan.prompt), "-n", str(plan.generate), "-r", str(plan.repetitions)]
    commands = {"2 ranks": ranks_bench(sides["ours"], model, 2, flags),
                "4 ranks": ranks_bench(sides["ours"], model, 4, flags),
                "one process": pinned(sides["ours"].bench(model, CORES, flags, "cpu"), CORES)}  # fmt: skip
    if sides["theirs"] is not None:
        commands["theirs"] = pinned(sides["theirs"].bench(model, CORES, flags, "cpu"), CORES)
    samples: dict = {}
    sums: list[dict] = []
    for order in interleaved(plan.pairs, tuple(commands)):
        for who in order:
            text = output_of(commands[who])
            for test, speed in parse(text).items():
                samples.setdefault(test, {}).setdefault(who, []).append(speed)
            if who == "2 ranks":
                sums.append(sums_of(text))
    rows = []
    for test, of in sorted(samples.items(), reverse=True):
        what = f"prefill {test[0]}" if test[0] else f"decode {test[1]}"
        for who, other, least in (
            ("2 ranks", "theirs", 0.95 if test[0] else 1.0), ("2 ranks", "one process", None),
            ("4 ranks", "2 ranks", None if test[0] else 0.7),
        ):  # fmt: skip
            if other not in of:
                continue
            ratio = pair_ratio(of[who], of[other])
            low, high = spread(of[who], of[other])
            against = f"{CORES} threads" if other == "theirs" else other
            rows.append(Row(f"{name}, {what}, {who} x 1 thread against {against}, {CORES} cores", "tok/s",
                            median(of[who]), median(of[other]), ratio, f">= {least:.2f}x" if least else "",
                            ratio >= least if least else None, f"{len(of[who])} pairs, {low:.2f}..{high:.2f}"))  # fmt: skip
    found = [one["us_p50"] for one in sums if one]
    if found:
        values = sums[0]["n_values"]
        most = 25 if values <= 2048 else 40
        rows.append(Row(f"{name}, one encrypted sum of {values} values, 2 ranks, q8: p50", "us", median(found), None,
                        None, f"<= {most}", median(found) <= most, "200 in a row, nothing computed between"))  # fmt: skip
    return rows, {"speed": {str(test): of for test, of in samples.items()}, "sums": sums}


def pipeline_rows(ours, name: str, model: str, plan) -> tuple[list[Row], dict]:
    """What one stream and four get of a pipeline of two, in turn."""
    # Of a prompt's chunks a pipeline computes several at a time for one stream, too: this is about decoding.
    plan = dataclasses.replace(plan, prompt_characters=PROMPT_CHARACTERS)
    port = free_port()
    command = [ours.binary, "up", model, "--port", str(port), "--local", "2", "--split", "pipeline", "-t", "1",
               "--slots", str(STREAMS), "--context", str(plan.stream_context), "--device", "cpu"]  # fmt: skip
    samples: dict = {"one": [], "four": []}
    with server(pinned(command, CORES), port, ours.ready_path):
        for round_number, order in enumerate(interleaved(plan.stream_pairs + 1)):
            wanted = bodies(plan, round_number)[:STREAMS]
            for side in order:
                found = figures(load.streams(port, wanted[:1] if side == "ours" else wanted))
                samples["one" if side == "ours" else "four"].append(found["throughput"])
    one, four = samples["one"][1:], samples["four"][1:]  # the first round warms up
    ratio = pair_ratio(four, one)
    low, high = spread(four, one)
    row = Row(f"{name}, pipeline of 2 x 1 thread: {STREAMS} streams of {plan.stream_tokens} tokens against one", "tok/s", median(four), median(one),
              ratio, ">= 1.70x", ratio >= 1.7, f"{len(one)} pairs, {low:.2f}..{high:.2f}")  # fmt: skip
    return [row], samples


def run(sides: dict, models: list[tuple[str, str]], plan) -> tuple[list[Row], dict]:
    rows, details = [], {}
    for name, path in models:
        found, details[name] = ranks_rows(sides, name, path, plan)
        rows += found
        found, details[name]["pipeline"] = pipeline_rows(sides["ours"], name, path, plan)
        rows += found
    return rows, details
