"""Pure arithmetic on measurements: medians, percentiles, ratios of pairs, distances of distributions."""

import math
import statistics


def median(values: list[float]) -> float:
    return statistics.median(values)


def percentile(values: list[float], percent: float) -> float:
    """The smallest measured value that at least `percent` % of the values do not exceed."""
    ordered = sorted(values)
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]


def pair_ratio(ours: list[float], theirs: list[float]) -> float:
    """Median over the pairs of ours / theirs: what both had in common within a pair cancels out."""
    return median([a / b for a, b in zip(ours, theirs, strict=True)])


def spread(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """The smallest and the largest ratio of any pair."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return min(ratios), max(ratios)


def interleaved(pairs: int, names: tuple[str, ...] = ("ours", "theirs")) -> list[tuple[str, ...]]:
    """The order in each pair (or round of more): forth and back, so that a drifting clock favours nobody."""
    return [tuple(names) if pair % 2 == 0 else tuple(reversed(names)) for pair in range(pairs)]


def divergence(reference: dict[int, float], other: dict[int, float]) -> float:
    """KL(reference || other) in nat, from the log-probabilities of each side's most probable tokens.

    Tokens that both name are compared one by one; all else is one bucket on both sides. Merging
    tokens can only lower the value, so this is a lower bound, and tight: the bucket is small.
    """
    shared = reference.keys() & other.keys()
    total = sum(math.exp(reference[token]) * (reference[token] - other[token]) for token in shared)
    smallest = 1e-12
    rest_reference = max(1 - sum(math.exp(reference[token]) for token in shared), smallest)
    rest_other = max(1 - sum(math.exp(other[token]) for token in shared), smallest)
    return max(total + rest_reference * math.log(rest_reference / rest_other), 0.0)


def first_difference(ours: list, theirs: list) -> int | None:
    """The first index where the two differ or one ends, None where they are the same."""
    for index, (a, b) in enumerate(zip(ours, theirs)):
        if a != b:
            return index
    return None if len(ours) == len(theirs) else min(len(ours), len(theirs))
