#!/usr/bin/env python3
"""Measures splits over emulated links and compares them with the cost model. docs/links.md explains.

Each host is a network namespace with one core (cores are shared where there are more hosts than cores); the
link emulator joins them. Delays are named by their round trip, as `ping` shows it.
"""

import argparse
import contextlib
import csv
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import load
from compare import RANDOM_SHAPES, cpu_name, fetched, random_model
from emulator import Emulator, NotPermitted
from links_model import CostModel, Scale, calibrate
from process import BenchError, Others, cores, say
from summary import median, percentile

SKIPPED = 77
START_SECONDS_MAX = 120
PORT = 4710
SPLITS = {"one": (1, 1), "tensor 2": (1, 2), "pipeline 2": (2, 1), "hybrid 2x2": (2, 2)}
SHAPES = {  # the models' shapes, for calibration with smaller ones
    "smollm2": "--family llama --type q4_1 --embedding 576 --ffn 1536 --layers 30 --heads 9 --kv-heads 3 "
               "--head-length 64 --vocab 49152 --tied --seed 1".split(),
    "random": RANDOM_SHAPES["random"][1].split(),
}  # fmt: skip
TITLES = {"smollm2": "SmolLM2-135M Q4_1", "random": "random 1.1B Q4_0"}


@dataclasses.dataclass(frozen=True)
class Point:
    """A network."""

    round_trip_ms: float
    rate_mbit: float = 0  # 0: as fast as this machine carries
    loss: float = 0

    def name(self) -> str:
        rate = "" if not self.rate_mbit else f", {self.rate_mbit:.0f} Mbit/s"
        return f"{self.round_trip_ms:g} ms{rate}{', 1 % loss' if self.loss else ''}"


DELAYS = [Point(ms) for ms in (0, 0.15, 0.3, 1, 3, 10)]
OTHERS = [Point(0.3, rate_mbit=1000), Point(0.3, rate_mbit=100), Point(1, loss=0.01)]


@dataclasses.dataclass
class Plan:
    points: list[Point]
    seconds: float  # of decoding at a point, if that many tokens are not there before
    tokens: int
    tokens_min: int
    prompt_characters: int = 120


FULL = Plan(points=DELAYS + OTHERS, seconds=2.2, tokens=64, tokens_min=10)
QUICK = Plan(points=[Point(0), Point(1)], seconds=0.3, tokens=8, tokens_min=6)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench --links", description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--exomesh", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--model", action="append", choices=SHAPES, help="this model alone (may be repeated)")
    parser.add_argument("--split", action="append", choices=SPLITS, help="this split alone (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="tiny amounts: does everything still run?")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every figure")
    parser.add_argument("--csv", type=pathlib.Path, metavar="FILE", help="write the table; rows of models that "
                        "are not measured now stay")  # fmt: skip
    return parser.parse_args()


class Cluster:
    """`exomesh up` on host 0 and workers on the others, joined by the emulator. Of one split of one model."""

    def __init__(self, binary: pathlib.Path, net: Emulator, model: str, split: str, folder: pathlib.Path):
        self.binary, self.net, self.model, self.split, self.folder = str(binary), net, model, split, folder
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> "Cluster":
        try:
            self._start()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stack.close()

    def _environment(self, rank: int) -> dict[str, str]:
        state = self.folder / f"state{rank}"
        state.mkdir(exist_ok=True)
        return os.environ | {"EXOMESH_STATE": str(state)}

    def _run(self, rank: int, *arguments: str) -> tuple[subprocess.Popen, pathlib.Path]:
        """Starts exomesh on a host, on a core; its output goes to the file."""
        available = cores(len(os.sched_getaffinity(0)))
        core = available[(rank + 1) % len(available)]
        log = self.folder / f"log{rank}"
        command = self.net.inside(rank, ["taskset", "-c", str(core), self.binary, *arguments])
        with open(log, "wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                       env=self._environment(rank))  # fmt: skip
        self.stack.callback(self._end, process)
        return process, log

    @staticmethod
    def _end(process: subprocess.Popen) -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> None:
        stages, ranks_per_stage = SPLITS[self.split]
        count = stages * ranks_per_stage
        flags = []
        if count > 1:
            shown = subprocess.run([self.binary, "worker", "--show-identity"], env=self._environment(0),
                                   capture_output=True, text=True, check=True)  # fmt: skip
            logs = [self._run(rank, "worker", "--listen", f"{self.net.address(rank)}:{PORT}", "--allow",
                              shown.stdout.strip())[1] for rank in range(1, count)]  # fmt: skip
            peers = [wait_for(log, r"worker listens on (\S+)\n") for log in logs]
            shape = "tensor" if stages == 1 else "pipeline" if ranks_per_stage == 1 else f"{stages}x{ranks_per_stage}"
            flags = ["--peers", ",".join(peers), "--split", shape]
        _, log = self._run(0, "up", "--model", self.model, "--threads", "1", "--port", str(PORT), "--slots", "1",
                           "--context", "512", "--device", "cpu", *flags)  # fmt: skip
        end = time.monotonic() + START_SECONDS_MAX
        while not self.net.call(0, is_ready):
            if time.monotonic() > end or b"error" in log.read_bytes():
                raise BenchError(f"{self.split} did not come up: {log.read_text(errors='replace')}")
            time.sleep(0.05)

    def ask(self, number: int, plan: Plan, tokens: int) -> load.StreamResult:
        # Begins like no other one, and goes on in words: a token's text can be sent at once.
        words = "one two three four five six seven "
        prompt = f"{number} " + words * (plan.prompt_characters // len(words))
        body = {"prompt": prompt, "max_tokens": tokens,
                "temperature": 0, "ignore_eos": True}  # fmt: skip
        return self.net.call(0, lambda: load.streams(PORT, [body])[0])


def is_ready() -> bool:
    import process

    return process.is_ready(PORT, "/health")


def wait_for(log: pathlib.Path, words: str) -> str:
    end = time.monotonic() + START_SECONDS_MAX
    while not (found := re.search(words, log.read_text(errors="replace"))):
        if time.monotonic() > end:
            raise BenchError(f"no {words!r} in {log.read_text(errors='replace')!r}")
        time.sleep(0.02)
    return found[1]


def tokens_for(plan: Plan, split: str, layers: int, point: Point, token_ms: float) -> int:
    """As many as fit into the plan's time, judging by the split's speed without delay."""
    stages, ranks = SPLITS[split]
    hops = 0 if split == "one" else 2 if ranks == 1 else 2 * layers + 2
    expected_ms = token_ms + hops * point.round_trip_ms / 2 * (3 if point.loss else 1)
    return max(plan.tokens_min, min(plan.tokens, int(plan.seconds * 1000 / expected_ms)))


def measure_split(cluster: Cluster, plan: Plan, layers: int, rounds: list[int]) -> list[dict]:
    """One row for each network."""
    rows = []
    cluster.ask(next_round(rounds), plan, plan.tokens_min)  # warms up
    token_ms = 1000 * median(cluster.ask(next_round(rounds), plan, plan.tokens_min).gaps_s)
    for point in plan.points:
        if cluster.split == "one" and point != Point(0):
            continue  # it sends nothing
        cluster.net.path(delay_us=point.round_trip_ms * 500, loss=point.loss)
        cluster.net.line(rate_mbit=point.rate_mbit)
        before = cluster.net.statistics()
        begin = time.monotonic()
        tokens = tokens_for(plan, cluster.split, layers, point, token_ms)
        result = cluster.ask(next_round(rounds), plan, tokens)
        spent = time.monotonic() - begin
        after = cluster.net.statistics()
        gaps = [1000 * gap for gap in result.gaps_s]
        rows.append({
            "split": cluster.split, "round_trip_ms": point.round_trip_ms, "rate_mbit": point.rate_mbit,
            "loss": point.loss, "decode_p50_ms": percentile(gaps, 50), "decode_p99_ms": percentile(gaps, 99),
            "first_token_ms": 1000 * result.first_s, "tokens": result.completion_tokens, "pieces": len(gaps) + 1,
            "emulator_core_share": (after["processor_s"] - before["processor_s"]) / spent,
            "wire_bytes_per_token": (after["wire_bytes"] - before["wire_bytes"]) / max(result.completion_tokens, 1),
        })  # fmt: skip
        say(f"{cluster.split}, {point.name()}: {rows[-1]['decode_p50_ms']:.2f} ms a token, "
            f"first after {rows[-1]['first_token_ms']:.0f} ms")  # fmt: skip
    cluster.net.path(delay_us=0, loss=0)
    cluster.net.line(rate_mbit=0)
    return rows


def next_round(rounds: list[int]) -> int:
    rounds.append(len(rounds))
    return rounds[-1]


def measure_model(chosen: argparse.Namespace, plan: Plan, name: str) -> dict:
    path = random_model(chosen.cache, chosen.exomesh, name) if name in RANDOM_SHAPES else fetched(chosen.cache, name)
    model = CostModel(chosen.exomesh.parent / "predict_links", path)
    shape = SHAPES[name]
    layers = int(shape[shape.index("--layers") + 1])
    splits = chosen.split or list(SPLITS)
    rows: list[dict] = []
    others = Others()
    with tempfile.TemporaryDirectory() as folder:
        for split in splits:
            hosts = SPLITS[split][0] * SPLITS[split][1]
            with Emulator(chosen.exomesh.parent / "link_emulator", hosts) as net, Cluster(
                chosen.exomesh, net, path, split, pathlib.Path(folder)
            ) as cluster:
                rows += measure_split(cluster, plan, layers, [])
    scale = Scale(name, 8, 1) if chosen.quick else Scale(name, 16, 3)
    figures = calibrate(chosen.exomesh, model, shape, rows, SPLITS, scale, chosen.cache)
    prompt = 40
    model.add_predictions(rows, figures, SPLITS, prompt)
    return {"model": TITLES[name], "rows": rows, "figures": figures, "others_share": others.share(),
            "break_even": model.break_even(rows, figures, SPLITS)}  # fmt: skip


COLUMNS = ["model", "split", "round_trip_ms", "rate_mbit", "loss", "decode_p50_ms", "decode_p99_ms",
           "first_token_ms", "predicted_decode_ms", "predicted_error", "tokens", "emulator_core_share",
           "wire_bytes_per_token"]  # fmt: skip


def write_csv(path: pathlib.Path, measured: list[dict]) -> None:
    kept = []
    if path.exists():
        names = {each["model"] for each in measured}
        with open(path, newline="") as file:
            kept = [row for row in csv.DictReader(file) if row["model"] not in names]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        for each in measured:
            for row in each["rows"]:
                rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
                writer.writerow({"model": each["model"]} | rounded)


def table(measured: dict) -> str:
    lines = [f"{measured['model']}", "",
             "| split | round trip, rate, loss | ms/token p50 | p99 | first token ms | predicted | off by |",
             "|---|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for row in measured["rows"]:
        point = Point(row["round_trip_ms"], row["rate_mbit"], row["loss"])
        predicted = row.get("predicted_decode_ms")
        guess = "- | -" if predicted is None else f"{predicted:.2f} | {row['predicted_error']:+.0%}"
        lines.append(f"| {row['split']} | {point.name()} | {row['decode_p50_ms']:.2f} | {row['decode_p99_ms']:.2f} | "
                     f"{row['first_token_ms']:.0f} | {guess} |")  # fmt: skip
    for even in measured["break_even"]:
        lines.append(f"\n{even['a']} is faster than {even['b']} below a round trip of "
                     f"{shown_ms(even['predicted_ms'])} (predicted), {shown_ms(even['measured_ms'])} (measured)")  # fmt: skip
    return "\n".join(lines)


def shown_ms(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f} ms"


def main() -> int:
    chosen = options()
    if chosen.quick and "EXOMESH_TEST_MODEL_SMOLLM2" not in os.environ:
        print("skipped: EXOMESH_TEST_MODEL_SMOLLM2 does not name the model (./dev test sets it)")
        return SKIPPED
    plan = QUICK if chosen.quick else FULL
    names = chosen.model or (["smollm2"] if chosen.quick else list(SHAPES))
    try:
        measured = [measure_model(chosen, plan, name) for name in names]
    except NotPermitted as reason:
        print(f"skipped: {reason}")
        return SKIPPED
    except (BenchError, load.ServerError, OSError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores")
    for each in measured:
        print(f"\n{table(each)}\nother processes used {each['others_share']:.0%} of the machine")
    if chosen.csv:
        write_csv(chosen.csv, measured)
    if chosen.json:
        chosen.json.write_text(json.dumps(measured, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
