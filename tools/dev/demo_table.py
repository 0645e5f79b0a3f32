#!/usr/bin/env python3
"""The table at the end of ./dev demo, from what `exomesh bench -o json` wrote for one process and for three."""

import json
import sys

BYTES_PER_VALUE = {"q8": 34 / 32, "f16": 2, "f32": 4}


def row(name: str, *values: str) -> str:
    return f"{name:<16}" + "".join(f"{value:>18}" for value in values)


def figures(name: str, entry: dict) -> str:
    tokens_per_second = 1e9 * entry["n_gen"] / entry["avg_ns"]
    sums, sent = "", ""
    if "sums" in entry:
        count, values = entry["sums"]["n_per_token"], entry["sums"]["n_values"]
        sums = f"{count * entry['sums']['us_p50'] / 1000:.1f}"
        others = entry["sums"]["n_ranks"] - 1
        sent = f"{count * values * BYTES_PER_VALUE[entry['wire']] * others / 1024:.0f}"
    return row(name, f"{tokens_per_second:.1f}", f"{entry['token_ms_p50']:.1f}", f"{entry['token_ms_p99']:.1f}",
               sums, sent)  # fmt: skip


def table(one: dict, three: dict) -> str:
    sums = three["sums"]
    return "\n".join([
        row("", "tokens/s", "ms/token median", "99th percentile", "of it in sums", "KiB sent each"),
        figures("one process", one),
        figures("three processes", three),
        f"A token takes {sums['n_per_token']} sums of {sums['n_values']} values over {sums['n_ranks']} ranks, each "
        f"{sums['us_p50']} us. On one machine the ranks share its cores and memory, which",
        "costs (unless other programs hold a core up: threads of one process wait for each other more than ranks",
        "do); on several machines each adds its own. `exomesh worker --help` tells how.",
    ])  # fmt: skip


def main() -> None:
    entries = []
    for path in sys.argv[1:3]:
        with open(path, encoding="utf-8") as file:
            entries.append(json.load(file)[0])
    print(table(*entries))


if __name__ == "__main__":
    main()
