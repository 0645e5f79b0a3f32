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
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "logprobs": 5}
    reply = load.post(port, "/v1/completions", body)
    choice = reply["choices"][0]
    return Answer(choice["text"], steps_of(choice["logprobs"]), reply["usage"]["prompt_tokens"])


def answers(contender, model: str, texts: list[str], tokens: int, threads: int) -> list[Answer]:
    port = free_port()
    command = contender.serve(model, threads, port, 1, 4096, "cpu")
    with server(pinned(command, threads), port, contender.ready_path):
        return [answer(port, text, tokens) for text in texts]


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


def rows_of(name: str, results: list[dict]) -> list[Row]:
    same = sum(result["same"] for result in results)
    target = next((TARGETS[key] for key in TARGETS if key in name), 0)
    target = round(target * len(results) / 20)
    rows = [Row(f"{name}, same greedy text", f"of {len(results)}", same, None, None, f">= {target}", same >= target)]
    if other := [result for result in results if not result["same"]]:
        gaps = [max(result["gaps"]) if "gaps" in result else math.inf for result in other]
        rows.append(
            Row(
                f"{name}, largest top-2 gap at a first difference", "nat", max(gaps), None, None,
                f"< {GAP_MAX}", max(gaps) < GAP_MAX,
            )  # fmt: skip
        )
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
    for name, path in models:
        replies = {}
        for side, contender in sides.items():
            say(f"parity: {name}, {len(texts)} prompts, {contender.name}")
            replies[side] = answers(contender, path, texts, plan.parity_tokens, plan.parity_threads)
        results = [compare(a, b) for a, b in zip(replies["ours"], replies["theirs"])]
        for number, result in enumerate(results):
            say(describe(number, result))
        rows += rows_of(name, results)
        details[name] = results
    return rows, details
