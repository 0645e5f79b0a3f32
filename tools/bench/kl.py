"""Teacher-forced distance of the next-token distributions: mean KL over many positions of plain text.

The reference is asked for one token at a time with its prompt cache on, so each position costs one
decode step there, and tells its 50 most probable tokens. Ours comes from `exomesh logits`.
"""

import json
import math
import random
import tempfile

import load
from process import free_port, output_of, pinned, say, server
from summary import divergence, percentile
from table import Row
from texts import prompt

REFERENCE_TOP = 50
OUR_TOP = 200  # more than the reference's, so that nearly all of its tokens are among them
TARGET = 1e-3


def chunks(port: int, count: int, length: int) -> list[list[int]]:
    """`count` sequences of `length` tokens of varied text, in the reference's own token ids."""
    result, seed = [], 500
    while len(result) < count:
        tokens = load.post(port, "/tokenize", {"content": prompt(seed, 8 * length), "add_special": True})["tokens"]
        if len(tokens) >= length:
            result.append(tokens[:length])
        seed += 1
    return result


def reference_distributions(port: int, tokens: list[int]) -> list[dict[int, float]]:
    """For each position the distribution of what follows tokens[0..position].

    An end token would come without its distribution, so it is kept from being chosen; the server
    tells the model's own distribution, before that. Where the best token is a piece of a character it
    tells none: such positions stay empty.
    """
    found = []
    for end in range(1, len(tokens) + 1):
        body = {
            "prompt": tokens[:end], "n_predict": 1, "n_probs": REFERENCE_TOP, "temperature": 0,
            "cache_prompt": True, "id_slot": 0, "ignore_eos": True,
        }  # fmt: skip
        steps = load.post(port, "/completion", body).get("completion_probabilities")
        top = steps[0]["top_logprobs"] if steps else []
        found.append({candidate["id"]: candidate["logprob"] for candidate in top})
    return found


def parse(text: str) -> list[dict[int, float]]:
    """The lines of `exomesh logits` → one distribution a position."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [dict(map(tuple, line["top"])) for line in sorted(lines, key=lambda line: line["position"])]


def our_distributions(contender, model: str, tokens: list[int], threads: int) -> list[dict[int, float]]:
    with tempfile.NamedTemporaryFile("w", suffix=".tokens") as file:
        file.write(" ".join(map(str, tokens)) + "\n")
        file.flush()
        return parse(output_of(pinned(contender.logits(model, threads, file.name, OUR_TOP), threads)))


def rows_of(name: str, values: list[float], agreeing: int) -> list[Row]:
    mean = math.fsum(values) / len(values)
    note = (
        f"{len(values)} positions, p99 {percentile(values, 99):.1e}, largest {max(values):.1e}; "
        f"same best token at {agreeing / len(values):.2%}"
    )
    return [Row(f"{name}, mean KL of the next token", "nat", mean, None, None, f"< {TARGET}", mean < TARGET, note)]


def reference_of(contender, model: str, plan) -> tuple[list[list[int]], list[list[dict[int, float]]]]:
    """The token sequences and the reference's distributions over them."""
    threads = plan.parity_threads
    if hasattr(contender, "logits"):  # another build of exomesh: any ids do, it is compared with itself
        source = random.Random(1)
        tokens = [[source.randrange(300, 20_000) for _ in range(plan.kl_length)] for _ in range(plan.kl_chunks)]
        return tokens, [our_distributions(contender, model, chunk, threads) for chunk in tokens]
    port = free_port()
    command = contender.serve_token_by_token(model, threads, port, 1, 4096, "cpu")
    with server(pinned(command, threads), port, contender.ready_path):
        tokens = chunks(port, plan.kl_chunks, plan.kl_length)
        return tokens, [reference_distributions(port, chunk) for chunk in tokens]


def run(sides: dict, models: list[tuple[str, str]], plan) -> tuple[list[Row], dict]:
    rows, details = [], {}
    threads = plan.parity_threads
    for name, path in models:
        say(f"kl: {name}, {plan.kl_chunks} x {plan.kl_length} tokens, {sides['theirs'].name}")
        tokens, reference = reference_of(sides["theirs"], path, plan)
        say(f"kl: {name}, {sides['ours'].name}")
        ours = [our_distributions(sides["ours"], path, chunk, threads) for chunk in tokens]
        pairs = [pair for a, b in zip(reference, ours) for pair in zip(a, b, strict=True) if pair[0]]
        values = [divergence(theirs, mine) for theirs, mine in pairs]
        agreeing = sum(max(theirs, key=theirs.get) == max(mine, key=mine.get) for theirs, mine in pairs)
        rows += rows_of(name, values, agreeing)
        details[name] = {"values": values, "same_best_token": agreeing}
    return rows, details
