"""Many streams at once against each server: throughput, time to the first token, gaps between tokens."""

import contextlib
import time

import load
from process import busy_seconds, descendants, free_port, pinned, say, server
from summary import interleaved, median, pair_ratio, percentile, spread
from table import Row
from texts import streams_prompt

WARM_UP_ROUND = 999_983  # a round number that no measured round has


def bodies(plan, round_number: int) -> list[dict]:
    return [
        {
            "prompt": streams_prompt(round_number, stream, plan.prompt_characters),
            "max_tokens": plan.stream_tokens, "temperature": 0, "ignore_eos": True,
        }
        for stream in range(plan.streams)
    ]  # fmt: skip


def figures(results: list[load.StreamResult]) -> dict[str, float]:
    """One round's figures; times in milliseconds."""
    gaps = [gap * 1000 for result in results for gap in result.gaps_s]
    firsts = [result.first_s * 1000 for result in results]
    wall = max(result.end for result in results) - min(result.start for result in results)
    return {
        "throughput": sum(result.completion_tokens for result in results) / wall,
        "first_p50": percentile(firsts, 50),
        "first_p99": percentile(firsts, 99),
        "gap_p50": percentile(gaps, 50),
        "gap_p99": percentile(gaps, 99),
    }


def idle_share(process) -> float:
    """The share of one core a server uses while nothing is asked of it."""
    pids = [process.pid, *descendants(process.pid)]
    before = sum(map(busy_seconds, pids))
    time.sleep(1)
    return sum(map(busy_seconds, pids)) - before


def measure(sides: dict, model: str, plan) -> tuple[dict, dict]:
    """({"ours": [figures a round], "theirs": [...]}, idle shares). Both servers stay loaded meanwhile."""
    samples, idle = {"ours": [], "theirs": []}, {}
    with contextlib.ExitStack() as stack:
        ports = {}
        for side, contender in sides.items():
            if contender is None:
                continue
            port = ports[side] = free_port()
            command = contender.serve(model, plan.stream_threads, port, plan.streams, plan.stream_context, plan.device)
            process = stack.enter_context(server(pinned(command, plan.stream_threads), port, contender.ready_path))
            load.streams(port, bodies(plan, WARM_UP_ROUND))
            idle[side] = idle_share(process)
        for round_number, order in enumerate(interleaved(plan.stream_pairs)):
            for side in order:
                if side in ports:
                    samples[side].append(figures(load.streams(ports[side], bodies(plan, round_number))))
    return samples, idle


def rows_of(name: str, samples: dict, plan) -> list[Row]:
    what = f"{name}, {plan.streams} streams of {plan.stream_tokens} tokens, {plan.stream_threads} threads"
    rows = []
    for figure, title, unit in (
        ("throughput", "throughput", "tok/s"),
        ("first_p50", "first token p50", "ms"),
        ("first_p99", "first token p99", "ms"),
        ("gap_p50", "between tokens p50", "ms"),
        ("gap_p99", "between tokens p99", "ms"),
    ):
        ours = [sample[figure] for sample in samples["ours"]]
        theirs = [sample[figure] for sample in samples["theirs"]]
        row = Row(f"{what}: {title}", unit, median(ours))
        if theirs:
            low, high = spread(ours, theirs)
            row.theirs, row.ratio = median(theirs), pair_ratio(ours, theirs)
            row.note = f"{len(ours)} pairs, {low:.2f}..{high:.2f}"
            if figure == "throughput":
                row.target, row.met = ">= 1.10x", row.ratio >= 1.1
        rows.append(row)
    return rows


def run(sides: dict, models: list[tuple[str, str]], plan) -> tuple[list[Row], dict]:
    rows, details = [], {}
    for name, path in models:
        say(f"streams: {name}, {plan.streams} at once, {plan.stream_pairs} pairs")
        samples, idle = measure(sides, path, plan)
        for side, share in idle.items():
            if share > 0.05:
                say(f"warning: the idle server of {sides[side].name} uses {share:.0%} of a core: the pairs are skewed")
        rows += rows_of(name, samples, plan)
        details[name] = samples | {"idle_core_share": idle}
    return rows, details
