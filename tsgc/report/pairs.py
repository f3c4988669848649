"""Two configurations beside each other: on which clips they differ, and what that is worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tsgc.evaluation.scores import has_clean_part
from tsgc.evaluation.statistics import McNemar, mcnemar, paired_difference
from tsgc.fusion.fuse import match_clips
from tsgc.report.gather import Gathered, Group, score_class_names


@dataclass(frozen=True)
class Test:
    """McNemar's test of one run of each."""

    first: str
    second: str
    """Labels of the two runs."""
    result: McNemar


@dataclass(frozen=True)
class Difference:
    """How much better the second is on a part of the clips, percent."""

    part: str
    """`all` or `clean`."""
    clips: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    """The 95 % interval of the difference, by a bootstrap of clips in pairs."""
    tests: Sequence[Test]
    """One for each pair of seeds."""


@dataclass(frozen=True)
class Disagreement:
    """A clip that the two answer differently."""

    index: int
    """The place among the first one's clips."""
    name: str
    label: int
    first: int
    second: int
    """What each takes it for."""
    first_probability: float
    second_probability: float
    """What each gives the true class, 0 to 1."""

    @property
    def winner(self) -> str:
        """Which one is right: `first`, `second` or `neither`."""
        return "first" if self.first == self.label else "second" if self.second == self.label else "neither"


@dataclass(frozen=True)
class Pair:
    """Two groups of runs with the same clips, these in the order of the first."""

    first: Group
    second: Group

    @property
    def names(self) -> list[str]:
        return score_class_names(self.first.scores[0])


def pair_up(first: Group, second: Group) -> Pair:
    """The pair of two groups that have scores. Raises TsgcError where their clips or classes differ."""
    return Pair(first, replace(second, scores=[match_clips(first.scores[0], one) for one in second.scores]))


def differences(pair: Pair) -> list[Difference]:
    """The differences on all clips and, where there are any, on the clean ones."""
    scores = pair.first.scores[0]
    kept = {"all": np.ones(len(scores.labels), bool)}
    if has_clean_part(scores):
        kept["clean"] = ~scores.repeats
    found = []
    for part, keep in kept.items():
        one, two = pair.first.right[keep], pair.second.right[keep]
        middle, low, high = paired_difference(one, two)
        tests = [_test(first, second, keep) for first, second in seeds_in_pairs(pair)]
        found.append(
            Difference(
                part, len(one), 100 * float(one.mean()), 100 * float(two.mean()), middle, low, high, tests
            )
        )
    return found


Answers = tuple[Gathered, np.ndarray]
"""A run, and which clips it gets right, bool (N,)."""


def seeds_in_pairs(pair: Pair) -> list[tuple[Answers, Answers]]:
    """Runs of both of the same seed; where they have none in common, by their order."""
    first, second = answers(pair.first), answers(pair.second)
    common = [seed for seed in first if seed in second]
    if common:
        return [(first[seed], second[seed]) for seed in common]
    return list(zip(first.values(), second.values()))


def answers(group: Group) -> dict[int, Answers]:
    """Seed -> the run, and which clips it gets right."""
    scored = [run for run in group.runs if run.main_scores is not None]
    return {
        run.run.config.seed: (run, scores.logits.argmax(1) == scores.labels)
        for run, scores in zip(scored, group.scores)
    }


def _test(first: Answers, second: Answers, keep: np.ndarray) -> Test:
    return Test(first[0].label, second[0].label, mcnemar(first[1][keep], second[1][keep]))


def disagreements(pair: Pair) -> list[Disagreement]:
    """The clips that the two answer differently: those where one alone is right first, the clearest first.

    Several seeds answer by the mean of their probabilities.
    """
    scores = pair.first.scores[0]
    one, two = pair.first.probability, pair.second.probability
    first, second, clips = one.argmax(1), two.argmax(1), np.arange(len(scores.labels))
    true = np.stack([one[clips, scores.labels], two[clips, scores.labels]], 1)
    neither = (first != scores.labels) & (second != scores.labels)
    order = np.lexsort((clips, -np.abs(true[:, 1] - true[:, 0]), neither))
    return [
        Disagreement(
            index,
            str(scores.names[index]),
            int(scores.labels[index]),
            int(first[index]),
            int(second[index]),
            float(true[index, 0]),
            float(true[index, 1]),
        )
        for index in order.tolist()
        if first[index] != second[index]
    ]
