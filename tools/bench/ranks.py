"""Does a model on several ranks say what it says on one? Greedy answers with F32 on the wire, cut in
every way, and the perplexity of a longer text with each wire type, against one process.

A tensor group adds in another order than one process. Where activations are rounded to 8 bits, that may tip a
rounding and with it a token, so its texts must be equal with F32 weights alone: docs/benchmarks.md.
"""

import dataclasses
import json
import pydoc_data.topics
import tempfile

import gguf_facts
import parity
from process import free_port, output_of, pinned, say, server
from table import Row
from texts import prompts

PERPLEXITY_SHARE_MAX = 0.005
QUICK_PERPLEXITY_SHARE_MAX = 0.03  # a few tokens say little
ONE_PROCESS = "one process"


@dataclasses.dataclass(frozen=True)
class Cut:
    """A way to spread a model; `wires` are those whose perplexity is measured."""

    name: str
    ranks: int
    split: str = "tensor"
    shares: str = ""
    wires: tuple[str, ...] = ()

    def flags(self, wire: str) -> list[str]:
        shares = ["--shares", self.shares] if self.shares else []
        return ["--local", str(self.ranks), "--split", self.split, "--wire", wire, *shares]


CUTS = [
    Cut("tensor 2", 2, wires=("q8", "f16", "f32")),
    Cut("tensor 3", 3),
    Cut("tensor 4", 4, wires=("q8",)),
    Cut("tensor 0.7/0.3", 2, shares="0.7,0.3"),
    Cut("tensor 0.5/0.3/0.2", 3, shares="0.5,0.3,0.2"),
    Cut("pipeline 2", 2, split="pipeline"),
    Cut("pipeline 3", 3, split="pipeline"),
    Cut("hybrid 2x2", 4, split="2x2", wires=("q8",)),
]
QUICK_CUTS = ["tensor 3", "pipeline 2", "hybrid 2x2"]
# With F32 weights: so that nothing at all is rounded to fewer bits.
EXACT_FLAGS = ["--cache-type", "f32"]
FILE_TYPE_F32 = 0


def longer_text(characters: int) -> str:
    """English prose with some code in it, from Python's own documentation."""
    topics = pydoc_data.topics.topics
    return "\n\n".join(topics[name] for name in sorted(topics))[:characters]


def is_exact(model: str) -> bool:
    """Whether its matrices are F32, which ggml multiplies without rounding activations."""
    return gguf_facts.read(model).get("general.file_type") == FILE_TYPE_F32


def answers(contender, model: str, texts: list[str], plan, flags: list[str]) -> list[parity.Answer]:
    """Prompts in chunks that a pipeline takes too: others would round otherwise. Each rank is a thread."""
    port = free_port()
    command = [*contender.serve_exact(model, 1, port, 1, 4096, "cpu"), "--chunk", "32", *flags]
    with server(pinned(command, plan.parity_threads), port, contender.ready_path):
        return [parity.answer(port, text, plan.parity_tokens) for text in texts]


def text_row(name: str, cut: Cut, results: list[dict], exact: bool) -> Row:
    """A pipeline computes the same numbers elsewhere; a tensor group does but for the order of sums."""
    same, count = sum(result["same"] for result in results), len(results)
    gap = parity.largest_gap(results)
    note = "" if gap is None else f"largest top-2 gap at a first difference {gap:.1e} nat"
    row = Row(f"{name}, {cut.name}, F32 wire: same greedy text as {ONE_PROCESS}", f"of {count}", same, note=note)
    if exact or cut.split == "pipeline":
        row.target, row.met = f">= {count}", same == count
    return row


def texts_of(contender, name: str, model: str, plan, cuts: list[Cut]) -> tuple[list[Row], dict]:
    exact = is_exact(model)
    flags = EXACT_FLAGS if exact else []
    texts = prompts(plan.prompts, plan.exact_characters if exact else plan.parity_characters)
    say(f"ranks: {name}, {len(texts)} prompts, {ONE_PROCESS}")
    alone = answers(contender, model, texts, plan, flags)
    rows, details = [], {}
    for cut in cuts:
        say(f"ranks: {name}, {cut.name}")
        together = answers(contender, model, texts, plan, [*flags, *cut.flags("f32")])
        results = list(map(parity.compare, together, alone))
        for number, result in enumerate(results):
            if not result["same"]:
                say(parity.describe(number, result))
        rows.append(text_row(name, cut, results, exact))
        details[cut.name] = results
    return rows, details


def perplexity(contender, model: str, plan, text_file: str, flags: list[str]) -> dict:
    command = [
        contender.binary, "logits", model, "--text", text_file, "--perplexity", "--window", "512",
        "--chunk", "128", "--device", "cpu", "--threads", "1", "--weights", "exact", *flags,
    ]  # fmt: skip
    return json.loads(output_of(pinned(command, plan.parity_threads)).splitlines()[-1])


def perplexities_of(contender, name: str, model: str, plan, cuts: list[Cut]) -> tuple[list[Row], dict]:
    rows, details = [], {}
    share_max = QUICK_PERPLEXITY_SHARE_MAX if plan.is_quick else PERPLEXITY_SHARE_MAX
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(longer_text(plan.ranks_characters))
        file.flush()
        say(f"ranks: {name}, perplexity, {ONE_PROCESS}")
        alone = perplexity(contender, model, plan, file.name, [])
        details[ONE_PROCESS] = alone
        for cut in cuts:
            for wire in cut.wires:
                say(f"ranks: {name}, perplexity, {cut.name}, {wire}")
                found = perplexity(contender, model, plan, file.name, cut.flags(wire))
                ratio = found["perplexity"] / alone["perplexity"]
                rows.append(
                    Row(f"{name}, {cut.name}, {wire} wire: perplexity against {ONE_PROCESS}", "",
                        found["perplexity"], alone["perplexity"], ratio, f"within {share_max:.1%}",
                        abs(ratio - 1) < share_max, f"{found['tokens']} tokens")
                )  # fmt: skip
                details[f"{cut.name}, {wire}"] = found
    return rows, details


def run(sides: dict, models: list[tuple[str, str]], plan) -> tuple[list[Row], dict]:
    ours = sides["ours"]
    cuts = [cut for cut in CUTS if not plan.is_quick or cut.name in QUICK_CUTS]
    rows, details = [], {}
    for name, path in models:
        if is_exact(path):  # slow, and a pipeline shows nothing that it does not show with the original
            found, details[name] = texts_of(ours, name, path, plan, [cut for cut in cuts if cut.split != "pipeline"])
            rows += found
            continue
        texts, text_details = texts_of(ours, name, path, plan, cuts)
        found, details[name] = perplexities_of(ours, name, path, plan, cuts)
        rows += texts + found
        details[name] |= text_details
    return rows, details
