#!/usr/bin/env python3
"""Draws docs/links.svg from docs/links.csv: time a token over the round trip, measured and predicted.

    python3 tools/bench/links_chart.py docs/links.csv docs/links.svg
"""

import argparse
import csv
import math
import pathlib
from collections.abc import Iterator
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM, BETWEEN = 1000, 440, 62, 58, 20, 52, 66
COLORS = {"one": "#555555", "pipeline 2": "#2a7fb8", "tensor 2": "#d1495b", "hybrid 2x2": "#8a5fb0"}
LABELS = {"one": "one device", "pipeline 2": "pipeline of 2", "tensor 2": "tensor group of 2",
          "hybrid 2x2": "2 stages of 2"}  # fmt: skip
ZERO_AT_MS = 0.06  # where "no delay" stands on the logarithmic axis
ROUND_TRIPS = (0, 0.15, 0.3, 1, 3, 10)
TICKS_MS = (5, 10, 20, 50, 100, 200, 500, 1000)


class Panel:
    """One model's curves, both axes logarithmic."""

    def __init__(self, model: str, rows: list[dict], left: float, width: float):
        self.model, self.rows, self.left, self.width = model, rows, left, width
        values = [row[key] for row in rows for key in ("decode_p50_ms", "predicted_decode_ms") if row[key]]
        self.low, self.high = min(values) / 1.3, max(values) * 1.3

    def x(self, round_trip_ms: float) -> float:
        first, last = math.log(ZERO_AT_MS), math.log(ROUND_TRIPS[-1])
        return self.left + (math.log(round_trip_ms or ZERO_AT_MS) - first) / (last - first) * (self.width - 24) + 12

    def y(self, value_ms: float) -> float:
        share = math.log(value_ms / self.low) / math.log(self.high / self.low)
        return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)

    def draw(self) -> Iterator[str]:
        bottom = HEIGHT - BOTTOM
        yield text(self.left, TOP - 12, self.model, size=15, weight="bold")
        yield (f'<rect x="{self.left:.0f}" y="{TOP}" width="{self.width:.0f}" height="{bottom - TOP}" '
               'fill="none" stroke="#bbb"/>')  # fmt: skip
        for tick in TICKS_MS:
            if self.low < tick < self.high:
                yield line(self.left, self.y(tick), self.left + self.width, self.y(tick), "#e6e6e6")
                yield text(self.left - 6, self.y(tick) + 4, f"{tick}", anchor="end")
        for tick in ROUND_TRIPS:
            yield line(self.x(tick), bottom, self.x(tick), bottom + 4, "#888")
            yield text(self.x(tick), bottom + 18, f"{tick:g}", anchor="middle")
        yield text(self.left + self.width / 2, bottom + 38, "round trip between devices, ms", anchor="middle")
        for split in COLORS:
            yield from self.curve(split)

    def curve(self, split: str) -> Iterator[str]:
        rows = sorted((row for row in self.rows if row["split"] == split), key=lambda row: row["round_trip_ms"])
        if not rows:
            return
        color = COLORS[split]
        if split == "one":  # it sends nothing: the same everywhere
            rows = [rows[0] | {"round_trip_ms": ms} for ms in (ROUND_TRIPS[0], ROUND_TRIPS[-1])]
        points = " ".join(f"{self.x(r['round_trip_ms']):.1f},{self.y(r['predicted_decode_ms']):.1f}" for r in rows)
        yield f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.6"/>'
        for row in rows if split != "one" else rows[:1]:
            yield (f'<circle cx="{self.x(row["round_trip_ms"]):.1f}" cy="{self.y(row["decode_p50_ms"]):.1f}" '
                   f'r="4" fill="{color}"/>')  # fmt: skip


def text(x: float, y: float, words: str, size: int = 12, anchor: str = "start", weight: str = "normal") -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}">'
            f"{escape(words)}</text>")  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def legend() -> Iterator[str]:
    x = LEFT
    for split, color in COLORS.items():
        yield f'<line x1="{x}" y1="16" x2="{x + 26}" y2="16" stroke="{color}" stroke-width="1.6"/>'
        yield f'<circle cx="{x + 13}" cy="16" r="4" fill="{color}"/>'
        yield text(x + 32, 20, LABELS[split])
        x += 165
    yield text(x, 20, "dots: measured, lines: predicted")


def read(path: pathlib.Path) -> dict[str, list[dict]]:
    """Rows of each model, delays alone."""
    models: dict[str, list[dict]] = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if float(row["rate_mbit"]) or float(row["loss"]):
                continue
            numbers = {key: float(row[key]) for key in ("round_trip_ms", "decode_p50_ms", "predicted_decode_ms")}
            models.setdefault(row["model"], []).append(numbers | {"split": row["split"]})
    return models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("csv", type=pathlib.Path)
    parser.add_argument("svg", type=pathlib.Path)
    chosen = parser.parse_args()
    models = read(chosen.csv)
    width = (WIDTH - LEFT - RIGHT - BETWEEN * (len(models) - 1)) / len(models)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *legend(),
        f'<text transform="translate(16 {HEIGHT / 2:.0f}) rotate(-90)" font-size="12" text-anchor="middle">'
        "time of a token, ms</text>",
    ]  # fmt: skip
    for index, (model, rows) in enumerate(models.items()):
        lines += Panel(model, rows, LEFT + index * (width + BETWEEN), width).draw()
    chosen.svg.write_text("\n".join([*lines, "</svg>"]) + "\n")


if __name__ == "__main__":
    main()
