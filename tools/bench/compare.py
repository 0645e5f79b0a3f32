#!/usr/bin/env python3
"""Measures exomesh against llama.cpp on this machine and prints one table. docs/benchmarks.md explains.

Everything is paired: both sides run the same thing, one after the other, in turns, pinned to the same
cores, on the same model file; a ratio is the median over the pairs of ours / theirs.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys

import kl
import memory
import parity
import ranks
import shards
import speed
import streams
from contenders import Exomesh, LlamaCpp
from load import ServerError
from process import BenchError, Others, say
from table import Row, render

OTHERS_SHARE_MAX = 0.03
SKIPPED = 77  # what ctest takes as skipped
SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
PARTS = {"speed": speed, "streams": streams, "parity": parity, "kl": kl, "memory": memory, "ranks": ranks,
         "shards": shards}
TITLES = {"smollm2": "SmolLM2-135M Q4_1", "smollm2-f32": "SmolLM2-135M F32", "gemma3": "Gemma-3-270m Q4_K_M",
          "random": "random 1.1B Q4_0", "random-8b": "random 8B Q4_0"}
# The same weights as F32 (about 540 MB), whose products round no activation.
DEQUANTIZED = {"smollm2-f32": "smollm2"}
# Models with random weights: speed does not depend on their values. The larger one is for GPUs (about 4.5 GB)
# and measured only where it is named.
RANDOM_SHAPES = {
    "random": ("random-1.1b-q4_0.gguf", "--family llama --type q4_0 --embedding 2048 --ffn 5632 --layers 22 "
               "--heads 32 --kv-heads 4 --vocab 32000 --seed 1"),
    "random-8b": ("random-8b-q4_0.gguf", "--family llama --type q4_0 --embedding 4096 --ffn 14336 --layers 32 "
                  "--heads 32 --kv-heads 8 --vocab 128256 --seed 1"),
}  # fmt: skip


@dataclasses.dataclass
class Plan:
    """How much is measured. Tokens and characters are a test's, pairs are of runs."""

    device: str = "cpu"
    threads: tuple[int, ...] = (1, 2)
    depths: tuple[int, ...] = (0, 1024)
    pairs: int = 5
    prompt: int = 256
    generate: int = 64
    repetitions: int = 1
    streams: int = 8
    stream_threads: int = 2
    stream_pairs: int = 5
    stream_tokens: int = 128
    stream_context: int = 1024
    prompt_characters: int = 600
    prompts: int = 20
    parity_characters: int = 3400
    parity_tokens: int = 64
    parity_threads: int = 2
    kl_chunks: int = 11  # so that 5,000 positions are left without those llama-server tells nothing about
    kl_length: int = 500
    memory_context: int = 1024
    start_pairs: int = 9
    ranks_characters: int = 90_000
    exact_characters: int = 400  # of a prompt for a model with F32 weights, which is slow
    is_quick: bool = False


# Every path of the scripts, as little work as possible: for the tests, not for figures.
QUICK = Plan(
    threads=(1,), depths=(0,), pairs=1, prompt=16, generate=4, repetitions=1, streams=2, stream_threads=1,
    stream_pairs=1, stream_tokens=4, stream_context=512, prompt_characters=120, prompts=2,
    parity_characters=300, parity_tokens=4, parity_threads=1, kl_chunks=1, kl_length=8,
    memory_context=128, start_pairs=1, ranks_characters=600, exact_characters=120, is_quick=True,
)  # fmt: skip


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--exomesh", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--against", type=pathlib.Path, metavar="BINARY",
                        help="another build of exomesh to compare with, instead of llama.cpp")  # fmt: skip
    parser.add_argument("--only", action="append", choices=PARTS, help="this part alone (may be repeated)")
    parser.add_argument("--model", action="append", choices=list(TITLES),
                        help="these models alone, in every part (may be repeated); random-8b "
                        "is measured only when named")  # fmt: skip
    parser.add_argument("--pairs", type=int, help="pairs of runs in speed and streams (default 5)")
    parser.add_argument("--threads", type=int, action="append", help="CPU threads (default 1 and 2)")
    parser.add_argument("--depth", type=int, action="append",
                        help="tokens in the cache before speed is measured (default 0 and 1024)")  # fmt: skip
    parser.add_argument("--device", default="cpu", type=str.lower,
                        help="speed and streams on this device of `exomesh doctor`, "
                        "against llama.cpp with all layers on the same one: cpu (default) or vulkanN")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="tiny amounts: does everything still run?")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures of every run too")
    return parser.parse_args()


def plan_of(chosen: argparse.Namespace) -> Plan:
    plan = dataclasses.replace(QUICK if chosen.quick else Plan(), device=chosen.device)
    if chosen.pairs:
        plan = dataclasses.replace(plan, pairs=chosen.pairs, stream_pairs=chosen.pairs)
    if chosen.depth:
        plan = dataclasses.replace(plan, depths=tuple(chosen.depth))
    if chosen.threads:
        most = max(chosen.threads)
        plan = dataclasses.replace(plan, threads=tuple(chosen.threads), stream_threads=most, parity_threads=most)
    available = len(os.sched_getaffinity(0))
    threads = tuple(count for count in plan.threads if count <= available) or (available,)
    return dataclasses.replace(
        plan, threads=threads, stream_threads=min(plan.stream_threads, available),
        parity_threads=min(plan.parity_threads, available),
    )  # fmt: skip


def fetched(cache: pathlib.Path, name: str) -> str:
    """The path of a test model: the one the environment names, or the cached one, or a fresh one."""
    if path := os.environ.get(f"EXOMESH_TEST_MODEL_{name.upper()}"):
        return path
    command = [sys.executable, SOURCE / "tools/dev/fetch_model.py", "--cache", cache / "models", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"the model {name} could not be fetched")
    return done.stdout.strip()


def tool_beside(exomesh: pathlib.Path, name: str) -> pathlib.Path:
    tool = exomesh.parent / name
    if not tool.exists():
        raise BenchError(f"{tool} is missing: build it with ./dev build {name}")
    return tool


def random_model(cache: pathlib.Path, exomesh: pathlib.Path, name: str) -> str:
    file, shape = RANDOM_SHAPES[name]
    path = cache / "models" / file
    if path.exists():
        return str(path)
    maker = tool_beside(exomesh, "make_model")
    say(f"make {path} (once)")
    partial = path.with_suffix(".partial")
    subprocess.run([maker, partial, *shape.split()], check=True)
    partial.rename(path)
    return str(path)


def dequantized(cache: pathlib.Path, exomesh: pathlib.Path, source: pathlib.Path) -> str:
    """The same model with F32 weights, made once; its name tells of what."""
    path = cache / "models" / f"{source.stem}-{source.stat().st_size}.f32.gguf"
    if path.exists():
        return str(path)
    maker = tool_beside(exomesh, "dequantize_model")
    say(f"make {path} (once)")
    path.parent.mkdir(parents=True, exist_ok=True)
    if subprocess.run([maker, source, path], check=False).returncode != 0:
        raise BenchError(f"{path} could not be made (see above)")
    return str(path)


def path_of(name: str, chosen: argparse.Namespace) -> str:
    if name in RANDOM_SHAPES:
        return random_model(chosen.cache, chosen.exomesh, name)
    if name in DEQUANTIZED:
        return dequantized(chosen.cache, chosen.exomesh, pathlib.Path(fetched(chosen.cache, DEQUANTIZED[name])))
    return fetched(chosen.cache, name)


def models_for(part: str, chosen: argparse.Namespace) -> list[tuple[str, str]]:
    """(name in the table, path) for each model this part measures."""
    names = {"speed": ["smollm2", "random"], "parity": ["smollm2", "gemma3"],
             "ranks": ["smollm2", "smollm2-f32", "gemma3"], "shards": ["random"]}.get(part, ["smollm2"])
    if chosen.quick:
        names = ["smollm2"]
    return [(TITLES[name], path_of(name, chosen)) for name in chosen.model or names]


def sides_of(chosen: argparse.Namespace, folders: list[pathlib.Path]) -> dict:
    ours = Exomesh(chosen.exomesh)
    if chosen.against:
        return {"ours": ours, "theirs": Exomesh(chosen.against, "other exomesh")}
    return {"ours": ours, "theirs": LlamaCpp(chosen.cache, folders)}


def cpu_name() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def title_of(sides: dict) -> list[str]:
    ggml = {side: contender.ggml_version() for side, contender in sides.items()}
    same = "the same kernels on both sides" if ggml["ours"] == ggml["theirs"] else "DIFFERENT kernels"
    return [
        f"{sides['ours'].version()} with ggml {ggml['ours']} against {sides['theirs'].version()} "
        f"with ggml {ggml['theirs']}: {same}",
        f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}, "
        f"load average at the start {os.getloadavg()[0]:.2f}",
    ]


def measure(chosen: argparse.Namespace) -> int:
    plan = plan_of(chosen)
    if chosen.quick and "EXOMESH_TEST_MODEL_SMOLLM2" not in os.environ:
        print("skipped: EXOMESH_TEST_MODEL_SMOLLM2 does not name the model (./dev test sets it)")
        return SKIPPED
    parts = chosen.only or list(PARTS)
    models = {part: models_for(part, chosen) for part in parts}
    folders = {pathlib.Path(path).parent for found in models.values() for _, path in found}
    sides = sides_of(chosen, sorted(folders))
    title, rows, details = title_of(sides), [], {}
    if chosen.quick:
        title.append("A quick run: only that everything runs is meant, not the figures.")
    failed: list[str] = []
    for part in parts:
        others = Others()
        try:
            found, detail = PARTS[part].run(sides, models[part], plan)
        except (BenchError, ServerError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            failed.append(part)
            say(f"error: {part} could not be measured: {type(error).__name__}: {error}")
            continue
        rows += found
        details[part] = detail | {"others_share": others.share()}
        if others.share() > OTHERS_SHARE_MAX:
            title.append(f"NOISE: other processes used {others.share():.0%} of the machine during {part}.")
        if chosen.quick and part in ("parity", "kl", "ranks") and any(row.met is False for row in found):
            failed.append(part)  # speed means nothing in a quick run, but correctness does
    names = (sides["ours"].name, sides["theirs"].name)
    print(render(title, rows, names))
    if chosen.json:
        write_json(chosen.json, title, plan, rows, details)
    return 1 if failed else 0


def write_json(path: pathlib.Path, title: list[str], plan: Plan, rows: list[Row], details: dict) -> None:
    value = {
        "title": title, "plan": dataclasses.asdict(plan),
        "rows": [dataclasses.asdict(row) for row in rows], "details": details,
    }  # fmt: skip
    path.write_text(json.dumps(value, indent=1) + "\n")


def main() -> int:
    # So that the servers end with us when we are told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: ended by SIGTERM"))
    try:
        return measure(options())
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
