"""Several ranks on the cores that one process of llama.cpp has, or several that it spreads a model over, and a
pipeline with one stream and four."""

import contextlib
import dataclasses
import functools
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
# llama.cpp's own ways to share a model among two processes, by its name for the split (`row` it refuses for RPC).
RPC_WAYS = {"RPC by layers": "layer", "RPC by tensor": "tensor"}
RPC_LEAST = 2.5  # times its best way, in decoding


def ranks_bench(contender, model: str, ranks: int, flags: list[str]) -> list[str]:
    command = [contender.binary, "bench", "-m", model, "--local", str(ranks), "--split", "tensor", "-t", "1",
               "--device", "cpu", "-o", "json", *flags]  # fmt: skip
    return pinned(command, CORES)


def sums_of(text: str) -> dict:
    """The figures of one all-reduce in the bench's output."""
    return next((test["sums"] for test in json.loads(text[text.index("["):]) if test.get("sums")), {})


def rpc_output(theirs, model: str, split: str, flags: list[str]) -> str:
    """What llama-bench prints of two of its servers, one thread each, on the same cores as all else."""
    ports: list[int] = []
    with contextlib.ExitStack() as servers:
        for _ in range(2):
            ports.append(free_port())
            servers.enter_context(server(pinned(theirs.rpc_server(ports[-1]), CORES), ports[-1], ""))
        text = output_of(pinned(theirs.rpc_bench(model, ports, split, flags), CORES))
    theirs.refuse_rpc_figures(text, ports, split)
    return text


def runs_of(sides: dict, model: str, flags: list[str]) -> dict:
    """{who: what gives its bench's output}"""
    ours, theirs = sides["ours"], sides["theirs"]
    commands = {"2 ranks": ranks_bench(ours, model, 2, flags), "4 ranks": ranks_bench(ours, model, 4, flags),
                "one process": pinned(ours.bench(model, CORES, flags, "cpu"), CORES)}  # fmt: skip
    if theirs is not None:
        commands["theirs"] = pinned(theirs.bench(model, CORES, flags, "cpu"), CORES)
    runs = {who: functools.partial(output_of, command) for who, command in commands.items()}
    if hasattr(theirs, "rpc_bench"):
        runs |= {way: functools.partial(rpc_output, theirs, model, split, flags) for way, split in RPC_WAYS.items()}
    return runs


def speed_rows(name: str, test: tuple[int, int, int], of: dict[str, list[float]]) -> list[Row]:
    """Two ranks against all else; four ranks against two."""
    what = f"prefill {test[0]}" if test[0] else f"decode {test[1]}"
    best = max((way for way in RPC_WAYS if way in of), key=lambda way: median(of[way]), default="")
    comparisons = [("2 ranks", "theirs", 0.95 if test[0] else 1.0), ("2 ranks", "one process", None)]
    comparisons += [("2 ranks", way, RPC_LEAST if way == best and not test[0] else None) for way in RPC_WAYS]
    comparisons.append(("4 ranks", "2 ranks", None if test[0] else 0.7))
    rows = []
    for who, other, least in comparisons:
        if other not in of:
            continue
        ratio = pair_ratio(of[who], of[other])
        low, high = spread(of[who], of[other])
        against = f"{CORES} threads" if other == "theirs" else other
        if other in RPC_WAYS:
            against = f"{other} on 2 servers x 1 thread"
        rows.append(Row(f"{name}, {what}, {who} x 1 thread against {against}, {CORES} cores", "tok/s",
                        median(of[who]), median(of[other]), ratio, f">= {least:.2f}x" if least else "",
                        ratio >= least if least else None, f"{len(of[who])} pairs, {low:.2f}..{high:.2f}"))  # fmt: skip
    return rows


def ranks_rows(sides: dict, name: str, model: str, plan) -> tuple[list[Row], dict]:
    flags = ["-p", str(plan.prompt), "-n", str(plan.generate), "-r", str(plan.repetitions)]
    runs = runs_of(sides, model, flags)
    samples: dict = {}
    sums: list[dict] = []
    for order in interleaved(plan.pairs, tuple(runs)):
        for who in order:
            text = runs[who]()
            for test, speed in parse(text).items():
                samples.setdefault(test, {}).setdefault(who, []).append(speed)
            if who == "2 ranks":
                sums.append(sums_of(text))
    rows = []
    for test, of in sorted(samples.items(), reverse=True):
        rows += speed_rows(name, test, of)
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
