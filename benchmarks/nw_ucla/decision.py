"""The verdict on each candidate of a plan beside its base trial, by the rule of benchmarks/nw_ucla/v2.md.

Paired differences, candidate less base, of one fold and one seed each, by the averaged weights after the last
epoch. A fold's figure is the mean over its seeds, a witness's the mean over its folds, and the last one the
mean over the witnesses, which count the same whatever number of folds and clips they have.

The standard error takes folds as what varies, seeds within them included: seeds alone would not say that a
candidate may suit one camera and not the other. Their deviation about their witness's mean is pooled over all
folds of the candidate, (sum of squares) / (folds - witnesses) = 12 - 3 degrees of freedom, as two folds of
views say next to nothing by themselves. So a witness of F folds has an error of deviation / sqrt(F), and the
mean over W witnesses deviation * sqrt(sum of 1 / F) / W. No verdict depends on what else was tried.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from nw_ucla.folds import FOLDS, WITNESSES
from nw_ucla.tables import cell, mean, table
from pipelines.errors import TsgcError

Line = dict[str, Any]
Trainings = Mapping[tuple[str, int], Line]
"""The trainings of one trial, by fold and seed."""
MEASURES = {"top1_ema": ("top-1 %", 2), "nll_ema": ("NLL, less is better", 4)}
GOES_ON, ADOPTED = 1, 2  # standard errors that a candidate is ahead by, in top-1
SAME_VISITS = 0.01  # of them: batches of another size end with another clip


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error; NaN where there is nothing to tell it from."""

    mean: float = math.nan
    error: float = math.nan


@dataclass(frozen=True)
class Comparison:
    """How far a candidate is ahead of the base by one measure."""

    witnesses: Mapping[str, Estimate]
    whole: Estimate
    """The mean over the witnesses."""
    deviation: float
    """Pooled deviation of a fold's difference about its witness's mean."""


def by_trial(lines: Sequence[Line]) -> dict[str, Trainings]:
    """The trainings of each trial by its name; of several with one key the first that did not fail.

    Raises TsgcError where a name stands for several settings: results of several plans.
    """
    found: dict[str, dict[tuple[str, int], Line]] = defaultdict(dict)
    for line in sorted(lines, key=lambda line: line["status"] != "ok"):  # failed ones last
        first = found[line["name"]].setdefault((line["fold"], line["seed"]), line)
        if first["key"] != line["key"]:
            raise TsgcError(
                f"{line['name']} {line['fold']} seed {line['seed']}: trainings of different settings;"
                " expected results of one plan"
            )
    return dict(found)


def gaps(candidate: Trainings, base: Trainings) -> dict[str, list[str]]:
    """What keeps a candidate from a verdict -> where: pairs that are not there, or are none.

    Expected are all folds with each of the candidate's seeds.
    """
    found = defaultdict(list)
    for fold, seed in product(FOLDS, sorted({seed for _, seed in candidate})):
        where, pair = f"{fold} seed {seed}", (candidate.get((fold, seed)), base.get((fold, seed)))
        for line, whose in zip(pair, ("", "of the base ")):
            if line is None:
                found[f"{whose}missing"].append(where)
            elif line["status"] != "ok":
                found[f"{whose}failed ({line['error']})"].append(where)
        one, two = (line["clips"] if is_done(line) else 0 for line in pair)
        if one and two and abs(one / two - 1) > SAME_VISITS:
            found[f"{one:,} visits, the base {two:,}"].append(where)
    return found


def is_done(line: Line | None) -> bool:
    return line is not None and line["status"] == "ok"


def fold_means(candidate: Trainings, base: Trainings, measure: str) -> dict[str, float]:
    """Fold -> mean over its seeds of the paired differences, of the folds that have a pair."""
    found = defaultdict(list)
    for (fold, seed), line in candidate.items():
        other = base.get((fold, seed))
        if is_done(line) and is_done(other):
            found[fold].append(line["marks"][-1][measure] - other["marks"][-1][measure])
    return {fold: mean(values) for fold, values in found.items()}


def by_witness(figures: Mapping[str, float]) -> dict[str, list[float]]:
    """The folds' figures by their witness; a witness without any is left out."""
    found = defaultdict(list)
    for fold in FOLDS:
        if fold in figures:
            found[FOLDS[fold].witness].append(figures[fold])
    return found


def compare(differences: Mapping[str, float]) -> Comparison:
    """What the folds' mean differences say together."""
    groups = by_witness(differences)
    means = {witness: mean(values) for witness, values in groups.items()}
    squares = sum((value - means[witness]) ** 2 for witness, values in groups.items() for value in values)
    freedom = len(differences) - len(groups)
    deviation = math.sqrt(squares / freedom) if freedom else math.nan
    errors = {witness: deviation / math.sqrt(len(values)) for witness, values in groups.items()}
    whole = Estimate()
    if len(groups) == len(WITNESSES):
        whole = Estimate(mean(means.values()), math.hypot(*errors.values()) / len(errors))
    return Comparison(
        {witness: Estimate(means[witness], errors[witness]) for witness in groups}, whole, deviation
    )


def verdict(ahead: Estimate) -> str:
    """The rule's word on a candidate whose trainings are all there."""
    if not ahead.mean > GOES_ON * ahead.error:
        return "dropped"
    return "adopted" if ahead.mean >= ADOPTED * ahead.error else "goes on"


def decision(lines: Sequence[Line], base: str) -> str:
    """Tables of all candidates beside the trial named `base`, best first, and what keeps one from a verdict.

    Raises TsgcError: no such trial, or results of several plans.
    """
    trials = by_trial([line for line in lines if line["fold"] in FOLDS])
    if base not in trials:
        raise TsgcError(f"no trial {base!r}; there are: {', '.join(trials) or 'none'}")
    first = trials.pop(base)
    found = {
        measure: {name: compare(fold_means(trial, first, measure)) for name, trial in trials.items()}
        for measure in MEASURES
    }
    ahead = {name: one.whole for name, one in found["top1_ema"].items()}
    missing = {name: gaps(trial, first) for name, trial in trials.items()}
    best_first = sorted(trials, key=lambda name: (bool(missing[name]), -ahead[name].mean))
    parts = []
    for measure, (said, digits) in MEASURES.items():
        rows = [[cell(base), seeds(first), *own_figures(first, measure, digits), ""]]
        for name in best_first:
            word = "none" if missing[name] else verdict(ahead[name])
            rows.append([cell(name), seeds(trials[name]), *row(found[measure][name], digits), word])
        parts.append(table([said, "seeds", *WITNESSES, "all three", "a fold's", "verdict by top-1"], rows))
    told = [f"- {name}: {what}: {', '.join(at)}" for name in missing for what, at in missing[name].items()]
    return "\n".join([*parts, *told])


def seeds(trial: Trainings) -> str:
    return " ".join(map(str, sorted({seed for _, seed in trial})))


def own_figures(trial: Trainings, measure: str, digits: int) -> list[str]:
    """A trial's own figures: means over seeds, folds and witnesses, as those of differences."""
    own = {key: line for key, line in trial.items() if is_done(line)}
    zeros = {key: {**line, "marks": [{measure: 0.0}]} for key, line in own.items()}
    found = compare(fold_means(own, zeros, measure))
    return [*(number(one.mean, f".{digits}f") for one in estimates(found)), ""]


def row(found: Comparison, digits: int) -> list[str]:
    """How far a candidate is ahead of the base, by witness and in the mean, and its folds' deviation."""
    figures = [
        f"{number(one.mean, f'+.{digits}f')} ± {number(one.error, f'.{digits}f')}" for one in estimates(found)
    ]
    return [*(figure.removesuffix(" ± -") for figure in figures), number(found.deviation, f".{digits}f")]


def estimates(found: Comparison) -> list[Estimate]:
    return [*(found.witnesses.get(witness, Estimate()) for witness in WITNESSES), found.whole]


def number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
