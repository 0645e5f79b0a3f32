"""The cost model's side of links.py: calibrates it with one device and a network without delay, asks it.

Nothing it predicts goes into it: delays, rates, pipelines and hybrids are predictions throughout, and of tensor
groups all but the one without delay.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import subprocess

from process import cores, output_of, say
from summary import median

FAST_BYTES_PER_S = 2e9  # of a network "without rate": what this machine's memory and processor carry
OUTPUT_BYTES = 8.0  # of one candidate: what is measured is greedy


@dataclasses.dataclass
class Scale:
    name: str  # of the model, for the smaller ones of its shape
    tokens: int  # of each calibrating run
    repetitions: int


class CostModel:
    def __init__(self, program: pathlib.Path, model: str):
        self.program, self.model = str(program), model

    def ask(self, questions: list[dict], model: str | None = None) -> list[dict]:
        done = subprocess.run([self.program, model or self.model], input=json.dumps(questions),
                              capture_output=True, text=True, check=True)  # fmt: skip
        return json.loads(done.stdout)

    def add_predictions(self, rows: list[dict], figures: dict, splits: dict, prompt: int) -> None:
        asked = [row for row in rows if not row["loss"]]
        for row, found in zip(asked, self.ask([question(row, figures, splits, prompt) for row in asked])):
            row["predicted_decode_ms"] = found["decode_us"] / 1000
            row["predicted_error"] = row["predicted_decode_ms"] / row["decode_p50_ms"] - 1

    def break_even(self, rows: list[dict], figures: dict, splits: dict) -> list[dict]:
        """Round trips at which the tensor group is as fast as the others, predicted and measured."""
        found = []
        at_zero = {row["split"]: row for row in rows if row["round_trip_ms"] == 0 and not row["rate_mbit"]}
        for other in ("one", "pipeline 2"):
            if "tensor 2" not in at_zero or other not in at_zero:
                continue
            asked = question(at_zero["tensor 2"], figures, splits, 0)
            asked["against"] = question(at_zero[other], figures, splits, 0)
            latency_us = self.ask([asked])[0]["latency_us"]
            # What the emulator itself takes is part of the latency, not of the delay.
            predicted = None if latency_us is None else 2 * (latency_us - figures["base_latency_us"]) / 1000
            found.append({"a": "tensor 2", "b": other, "predicted_ms": predicted,
                          "measured_ms": crossing(rows, "tensor 2", other)})  # fmt: skip
        return found


def question(row: dict, figures: dict, splits: dict, prompt: int) -> dict:
    stages, ranks_per_stage = splits[row["split"]]
    rate = row["rate_mbit"] * 1e6 / 8 * 1448 / 1538 if row["rate_mbit"] else FAST_BYTES_PER_S
    device = figures["device" if ranks_per_stage == 1 else "device_beside_another"]
    latency_us = figures["base_latency_us"] + row["round_trip_ms"] * 500
    return {"stages": stages, "ranks_per_stage": ranks_per_stage, "context": 64, "prompt": prompt,
            "output_bytes": OUTPUT_BYTES, "head_us": figures["head_us"], "device": device,
            "link": {"latency_us": latency_us, "bytes_per_s": rate, "message_us": figures["message_us"]}}  # fmt: skip


def crossing(rows: list[dict], a: str, b: str) -> float | None:
    """Where `a` stops being faster, between measured round trips on straight lines."""
    def curve(split: str) -> list[tuple[float, float]]:
        return sorted((row["round_trip_ms"], row["decode_p50_ms"]) for row in rows
                      if row["split"] == split and not row["rate_mbit"] and not row["loss"])  # fmt: skip

    of_a, of_b = curve(a), curve(b)
    if len(of_b) == 1:  # it sends nothing
        of_b = [(x, of_b[0][1]) for x, _ in of_a]
    gaps = [(x, ya - yb) for (x, ya), (_, yb) in zip(of_a, of_b)]
    for (x0, before), (x1, after) in zip(gaps, gaps[1:]):
        if before < 0 <= after:
            return x0 + (x1 - x0) * -before / (after - before)
    return None


# --- calibration ---------------------------------------------------------------------------------


def smaller(shape: list[str], **changes: int) -> list[str]:
    shape = list(shape)
    for name, value in changes.items():
        shape[shape.index("--" + name.replace("_", "-")) + 1] = str(value)
    return shape


def value_of(shape: list[str], name: str) -> int:
    return int(shape[shape.index("--" + name) + 1])


def made_model(exomesh: pathlib.Path, path: pathlib.Path, shape: list[str]) -> str:
    """A model of random weights, made once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        subprocess.run([exomesh.parent / "make_model", partial, *shape], check=True)
        partial.rename(path)
    return str(path)


def token_us(exomesh: pathlib.Path, model: str, core: int, scale: Scale) -> float:
    """A decoded token with one thread on one core: the median over runs."""
    out = output_of(["taskset", "-c", str(core), str(exomesh), "bench", "-m", model, "-t", "1", "-p", "0",
                     "-n", str(scale.tokens), "-r", str(scale.repetitions), "-o", "json", "--device", "cpu"])  # fmt: skip
    return median(json.loads(out)[0]["samples_ns"]) / 1000 / scale.tokens


def prefill_us(exomesh: pathlib.Path, model: str, core: int) -> float:
    out = output_of(["taskset", "-c", str(core), str(exomesh), "bench", "-m", model, "-t", "1", "-p", "32",
                     "-n", "0", "-r", "1", "-o", "json", "--device", "cpu"])  # fmt: skip
    return json.loads(out)[0]["samples_ns"][0] / 1000


def bytes_read(model: CostModel, path: str) -> float:
    """Weight bytes a token reads, from the model itself: at one byte a microsecond, that is its time."""
    unit = {"read_bytes_per_s": 1e6, "flops_per_s": 1e30, "step_us": 0, "part_us": 0, "value_us": 0, "wake_us": 0}
    link = {"latency_us": 0, "bytes_per_s": 1, "message_us": 0}
    asked = {"stages": 1, "ranks_per_stage": 1, "context": 0, "prompt": 0, "output_bytes": 0,
             "head_us": 0, "device": unit, "link": link}  # fmt: skip
    return model.ask([asked], path)[0]["decode_us"]


def calibrate(exomesh, model: CostModel, shape, rows, splits, scale: Scale, cache: pathlib.Path) -> dict:
    """Device figures from three models on one core; beside another from two at once; the message's
    cost from the tensor group without delay."""
    available = cores(len(os.sched_getaffinity(0)))
    layers = value_of(shape, "layers")
    thirds = 3 if value_of(shape, "heads") % 2 else 2
    narrow = smaller(shape, ffn=value_of(shape, "ffn") // thirds, heads=value_of(shape, "heads") // thirds,
                     kv_heads=value_of(shape, "kv-heads") // thirds)  # fmt: skip
    if "--head-length" not in narrow:
        narrow += ["--head-length", str(value_of(shape, "embedding") // value_of(shape, "heads"))]
    shallow = smaller(shape, layers=layers // 2)
    paths = {"whole": model.model}
    for name, each in (("narrow", narrow), ("shallow", shallow)):
        paths[name] = made_model(exomesh, cache / "models" / f"{scale.name}-{name}.gguf", each)
    say("calibrate: one core alone, and one beside another")
    times = {name: token_us(exomesh, path, available[-1], scale) for name, path in paths.items()}
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        two = list(threads.map(lambda core: token_us(exomesh, paths["narrow"], core, scale), available[-2:]))
    sizes = {name: bytes_read(model, path) for name, path in paths.items()}
    device = solve(times, sizes, layers)
    whole_flops = 32 * 2 * sizes["whole"] * 2 / 1.125  # two operations a weight of 4.5 bits
    device |= {"flops_per_s": whole_flops / prefill_us(exomesh, model.model, available[-1]) * 1e6,
               "value_us": 0.0, "wake_us": 0.0}  # fmt: skip
    slower = median(two) / times["narrow"]
    beside = device | {name: device[name] * slower for name in ("step_us", "part_us")}
    beside["read_bytes_per_s"] = device["read_bytes_per_s"] / slower
    figures = {"device": device, "device_beside_another": beside, "base_latency_us": base_latency_us(exomesh),
               "head_us": head_us(times["whole"], rows), "message_us": 0.0, "times_us": times, "read_bytes": sizes, "beside_another": slower}  # fmt: skip
    figures["message_us"] = message_us(model, figures, rows, splits)
    return figures


def solve(times: dict, sizes: dict, layers: int) -> dict:
    """time = bytes / rate + 2 × layers × part + step, for the whole, a narrow and a shallow model."""
    # On a machine that others use the smaller one may have taken longer.
    rate = (sizes["whole"] - sizes["narrow"]) / max(times["whole"] - times["narrow"], times["whole"] / 100)
    fixed = max(times["whole"] - sizes["whole"] / rate, 0)
    fixed_shallow = max(times["shallow"] - sizes["shallow"] / rate, 0)
    part = max(fixed - fixed_shallow, 0) / (layers - layers // 2) / 2
    return {"read_bytes_per_s": rate * 1e6, "part_us": part, "step_us": max(fixed - 2 * layers * part, 0)}


def base_latency_us(exomesh: pathlib.Path) -> float:
    """Half of what a small TCP message and its answer take through the emulator without delay."""
    from emulator import Emulator
    from links_echo import echo_us

    with Emulator(exomesh.parent / "link_emulator", 2) as net:
        return median(echo_us(net, 400)) / 2


def head_us(token_us: float, rows: list[dict]) -> float:
    """What a server spends on a token besides computing it: sampling, HTTP, the client on the same core."""
    served = [row["decode_p50_ms"] * 1000 for row in rows if row["split"] == "one"]
    return max(served[0] - token_us, 0) if served else 0.0


def message_us(model: CostModel, figures: dict, rows: list[dict], splits: dict) -> float:
    """So that the tensor group without delay takes as long as measured."""
    for row in rows:
        if row["split"] == "tensor 2" and row["round_trip_ms"] == 0 and not row["rate_mbit"]:
            low, high = 0.0, 2000.0
            while high - low > 0.05:
                figures["message_us"] = (low + high) / 2
                found = model.ask([question(row, figures, splits, 0)])[0]["decode_us"]
                low, high = (figures["message_us"], high) if found < row["decode_p50_ms"] * 1000 else (low, figures["message_us"])
            return low
    return 0.0
