"""Do both sides write the same text? Greedy answers to the same prompts, and how close a first
difference was: with a small gap between the two most probable tokens, rounding decides."""

import dataclasses
import math

import load
from process import free_port, pinned, say, server
from summary import first_difference
from table import Row
from texts import prompts

TARGETS = {"SmolLM2": 18, "Gemma": 13}  # of 20
GAP_MAX = 0.15  # nat
# Several threads split a decode step's attention among them, at places that depend on how much of a
# sliding window's cache a program reads.
THREADS = 1


@dataclasses.dataclass
class Step:
    """One generated token: its text and the log-probabilities of the best candidates, best first."""

    text: str
    top: list[float]


@dataclasses.dataclass
class Answer:
    text: str
    steps: list[Step]
    prompt_tokens: int


def steps_of(logprobs: dict) -> list[Step]:
    """Reads OpenAI's completion form (parallel lists) and its chat form ("content"), by its bytes."""
    if "content" in logprobs:
        return [
            Step(token_text(token), sorted((top["logprob"] for top in token["top_logprobs"]), reverse=True))
            for token in logprobs["content"]
        ]
    return [
        Step(token, sorted(top.values(), reverse=True))
        for token, top in zip(logprobs["tokens"], logprobs["top_logprobs"])
    ]


def token_text(token: dict) -> str:
    if token.get("bytes") is not None:
        return bytes(token["bytes"]).decode("utf-8", errors="replace")
    return token["token"]


def answer(port: int, prompt, tokens: int) -> Answer:
    # Not beyond an end token: to one program that means to go on, to another never to choose one.
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "logprobs": 5}
    reply = load.post(port, "/v1/completions", body)
    choice = reply["choices"][0]
    return Answer(choice["text"], steps_of(choice["logprobs"] or {"content": []}), reply["usage"]["prompt_tokens"])


def answers(serve, ready_path: str, model: str, texts: list[str], plan) -> list[Answer]:
    """`serve`: a contender's way to start its server."""
    port = free_port()
    command = serve(model, THREADS, port, 1, 4096, "cpu")
    with server(pinned(command, THREADS), port, ready_path):
        return [answer(port, text, plan.parity_tokens) for text in texts]


def gap(step: Step) -> float:
    """Between the two most probable tokens, in nat; infinite where the server told fewer."""
    return step.top[0] - step.top[1] if len(step.top) > 1 else math.inf


def compare(ours: Answer, theirs: Answer) -> dict:
    """What is the same, and where not: the token and the gap on both sides."""
    result: dict = {"same": ours.text == theirs.text, "prompt_tokens": [ours.prompt_tokens, theirs.prompt_tokens]}
    if result["same"]:
        return result
    index = first_difference([s.text for s in ours.steps], [s.text for s in theirs.steps])
    result["at"] = index
    if index is not None and index < min(len(ours.steps), len(theirs.steps)):
        a, b = ours.steps[index], theirs.steps[index]
        result |= {"tokens": [a.text, b.text], "gaps": [gap(a), gap(b)]}
    return result


def largest_gap(results: list[dict]) -> float | None:
    """Over all first differences, of both sides; None where all is the same."""
    other = [result for result in results if not result["same"]]
    return max((max(result.get("gaps", [math.inf])) for result in other), default=None)


def rows_of(name: str, results: list[dict], itself: list[dict]) -> list[Row]:
    """`itself`: the reference against itself with sums in another order (may be empty)."""
    same = sum(result["same"] for result in results)
    floor = sum(result["same"] for result in itself) if itself else None
    note = "theirs: against itself in chunks of 64" if itself else ""
    target = next((TARGETS[key] for key in TARGETS if key in name), 0)
    target = round(target * len(results) / 20)
    unit = f"of {len(results)}"
    rows = [Row(f"{name}, same greedy text", unit, same, floor, None, f">= {target}", same >= target, note)]
    if (gap_max := largest_gap(results)) is not None:
        what = f"{name}, largest top-2 gap at a first difference"
        met = gap_max < GAP_MAX
        rows.append(Row(what, "nat", gap_max, largest_gap(itself), None, f"< {GAP_MAX}", met, note))
    if any(len(set(result["prompt_tokens"])) > 1 for result in results):
        rows.append(Row(f"{name}, same prompt tokens", "", 0, None, None, "all", False, "the tokenizers differ"))
    return rows


def describe(number: int, result: dict) -> str:
    if result["same"]:
        return f"  prompt {number} ({result['prompt_tokens'][0]} tokens): same"
    gaps = ", ".join(f"{value:.4f}" for value in result.get("gaps", []))
    return (
        f"  prompt {number} ({result['prompt_tokens'][0]} tokens): differs at token {result['at']}: "
        f"{result.get('tokens')}, top-2 gaps {gaps} nat"
    )


def run(sides: dict, models: list[tuple[str, str]], plan) -> tuple[list[Row], dict]:
    rows, details = [], {}
    texts = prompts(plan.prompts, plan.parity_characters)
    ours, theirs = sides["ours"], sides["theirs"]
    for name, path in models:
        say(f"parity: {name}, {len(texts)} prompts, {ours.name}")
        replies = answers(ours.serve_exact, ours.ready_path, path, texts, plan)
        say(f"parity: {name}, {theirs.name}")
        reference = answers(theirs.serve_exact, theirs.ready_path, path, texts, plan)
        results, itself = list(map(compare, replies, reference)), []
        for number, result in enumerate(results):
            say(describe(number, result))
        if hasattr(theirs, "serve_otherwise"):
            say(f"parity: {name}, {theirs.name} against itself")
            again = answers(theirs.serve_otherwise, theirs.ready_path, path, texts, plan)
            itself = list(map(compare, again, reference))
        rows += rows_of(name, results, itself)
        details[name] = {"pairs": results, "reference_itself": itself}
    return rows, details
