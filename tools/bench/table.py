"""The one table: a row for each comparison, as text for people and as JSON for machines."""

import dataclasses


@dataclasses.dataclass
class Row:
    what: str
    unit: str
    ours: float | None
    theirs: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""


def number(value: float | None) -> str:
    if value is None:
        return "-"
    if value != 0 and abs(value) < 0.01:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def ratio_text(row: Row) -> str:
    return "-" if row.ratio is None else f"{row.ratio:.3f}x"


def verdict(row: Row) -> str:
    return "" if row.met is None else "yes" if row.met else "NO"


def render(title: list[str], rows: list[Row], names: tuple[str, str]) -> str:
    head = ["what", "unit", *names, "ratio", "target", "met", "note"]
    lines = [
        [r.what, r.unit, number(r.ours), number(r.theirs), ratio_text(r), r.target, verdict(r), r.note]
        for r in rows
    ]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    right = {2, 3, 4}

    def line_text(line: list[str]) -> str:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        ]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join(("-" * (w + 1) + ":") if c in right else "-" * (w + 2) for c, w in enumerate(widths)) + "|"
    return "\n".join([*title, "", line_text(head), rule, *map(line_text, lines)])
