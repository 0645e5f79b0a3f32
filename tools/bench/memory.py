"""Resident memory beyond weights and KV cache, and the time from start to the first token."""

import os
import subprocess
import time

import gguf_facts
import load
from process import BenchError, free_port, memory_of, pinned, say, server
from summary import interleaved, median, pair_ratio, spread
from table import Row
from texts import MATHS, PROSE, SCIENCE

MEBIBYTE = 1 << 20
BEYOND_MIB_MAX = 120
FIRST_TOKEN_MS_MAX = 400
ENGLISH = "\n\n".join([PROSE, SCIENCE, MATHS] * 3)  # at least 3.7 characters a token


def beyond_weights(contender, model: str, threads: int, context: int) -> dict[str, float]:
    """MiB a server holds beyond the file and the KV cache, after answering over a nearly full context.

    One slot and a full context: every page of the cache has been written, so all of it is resident
    and may be taken off.
    """
    port = free_port()
    command = contender.serve(model, threads, port, 1, context, "cpu")
    with server(pinned(command, threads), port, contender.ready_path) as process:
        body = {"prompt": ENGLISH[: context * 37 // 10], "max_tokens": 16, "temperature": 0, "ignore_eos": True}
        used = load.post(port, "/v1/completions", body)["usage"]
        memory = memory_of(process.pid)
    known = os.path.getsize(model) + gguf_facts.kv_cache_bytes(gguf_facts.read(model), context)
    return {
        "beyond": (memory["VmRSS"] - known) / MEBIBYTE,
        "beyond_peak": (memory["VmHWM"] - known) / MEBIBYTE,
        "resident": memory["VmRSS"] / MEBIBYTE,
        "prompt_tokens": used["prompt_tokens"],
    }


def first_output_ms(command: list[str]) -> float:
    """From starting the process to the first byte that is not white space on its stdout."""
    start = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, bufsize=0
    ) as process:
        while data := process.stdout.read(4096):
            if data.strip():
                elapsed = (time.monotonic() - start) * 1000
                process.stdout.read()  # let it end by itself: killing it would change nothing we measure
                process.communicate()
                return elapsed
        process.wait()
    raise BenchError(f"{' '.join(command)} printed nothing (status {process.returncode})")


def memory_rows(sides: dict, name: str, model: str, plan) -> tuple[list[Row], dict]:
    found = {}
    for side, contender in sides.items():
        if contender is not None:
            say(f"memory: {name}, {contender.name}")
            found[side] = beyond_weights(contender, model, plan.parity_threads, plan.memory_context)
    ours, theirs = found["ours"], found.get("theirs", {})
    rows = [
        Row(
            f"{name}, resident beyond weights and KV", "MiB", ours["beyond"], theirs.get("beyond"), None,
            f"< {BEYOND_MIB_MAX}", ours["beyond"] < BEYOND_MIB_MAX, f"peak {ours['beyond_peak']:.0f} MiB",
        )
    ]  # fmt: skip
    return rows, found


def start_rows(sides: dict, name: str, model: str, plan) -> tuple[list[Row], dict]:
    say(f"start to first token: {name}, {plan.start_pairs} pairs")
    question = "What is the capital of France?"
    samples = {"ours": [], "theirs": []}
    for side, contender in sides.items():  # the first run of each warms the page cache
        if contender is not None:
            first_output_ms(pinned(contender.once(model, plan.parity_threads, question, 1), plan.parity_threads))
    for order in interleaved(plan.start_pairs):
        for side in order:
            if sides[side] is not None:
                command = sides[side].once(model, plan.parity_threads, question, 1)
                samples[side].append(first_output_ms(pinned(command, plan.parity_threads)))
    ours, theirs = samples["ours"], samples["theirs"]
    row = Row(f"{name}, start to first token", "ms", median(ours))
    row.target, row.met = f"< {FIRST_TOKEN_MS_MAX}", median(ours) < FIRST_TOKEN_MS_MAX
    if theirs:
        low, high = spread(ours, theirs)
        row.theirs, row.ratio = median(theirs), pair_ratio(ours, theirs)
        row.note = f"{len(ours)} pairs, {low:.2f}..{high:.2f}"
    return [row], samples


def run(sides: dict, models: list[tuple[str, str]], plan) -> tuple[list[Row], dict]:
    rows, details = [], {}
    for name, path in models:
        found, memory = memory_rows(sides, name, path, plan)
        started, samples = start_rows(sides, name, path, plan)
        rows += found + started
        details[name] = {"memory": memory, "start_ms": samples}
    return rows, details
