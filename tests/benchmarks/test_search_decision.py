"""The verdict on candidates of a plan: pairs, means, errors and the rule, by known answers."""

import math
import re

import numpy as np
import pytest
import search_tables
from made.search import script
from nw_ucla.decision import ADOPTED, Estimate, compare, decision, fold_means, gaps, verdict
from nw_ucla.folds import FOLDS, WITNESSES, folds_of
from nw_ucla.search import append_line

from pipelines.errors import TsgcError


def line(name, fold, seed=0, top1=90.0, nll=0.5, **more):
    mark = {"epoch": 9, "loss": 0.5, "top1_ema": top1, "nll_ema": nll}
    return {
        "key": f"{name} {fold} {seed}", "name": name, "set": {}, "fold": fold, "seed": seed, "status": "ok",
        "clips": 300_000, "marks": [{"epoch": 1, "top1_ema": 0.0, "nll_ema": 9.9}, mark], **more,
    }  # fmt: skip


def failed(name, fold, seed=0, **more):
    said = {"key": f"{name} {fold} {seed}", "name": name, "set": {}, "fold": fold, "seed": seed}
    return {**said, "status": "failed", "error": "out of memory", **more}


def trial(name, ahead, seeds=(0,)):
    """Lines of a trial: top-1 of 90 and `ahead(fold, seed)`, an NLL that falls by a hundredth of that."""
    return [
        line(name, fold, seed, 90 + ahead(fold, seed), 0.5 - ahead(fold, seed) / 100)
        for fold in FOLDS for seed in seeds
    ]  # fmt: skip


def of_witness(**values):
    """Fold -> the value that its place in its witness has."""
    return {fold: value for name in values for fold, value in zip(folds_of(name), values[name], strict=True)}


# Means 2, 1 and 3; squares about them 2 + 4 + 4 over 12 - 3 degrees of freedom.
KNOWN = of_witness(views=(1, 3), performers=(0, 0, 1, 2, 2), msr=(2, 2, 3, 4, 4))
DEVIATION = math.sqrt(10 / 9)


def test_means_and_errors_of_known_differences():
    found = compare(KNOWN)
    assert found.deviation == pytest.approx(DEVIATION)
    assert {name: one.mean for name, one in found.witnesses.items()} == {
        "views": 2,
        "performers": 1,
        "msr": 3,
    }
    errors = [found.witnesses[name].error for name in WITNESSES]
    assert errors == pytest.approx([DEVIATION / math.sqrt(count) for count in (2, 5, 5)])
    assert found.whole.mean == pytest.approx(2)
    assert found.whole.error == pytest.approx(DEVIATION * math.sqrt(1 / 2 + 1 / 5 + 1 / 5) / 3)


def test_errors_are_the_deviation_that_means_have():
    """Over made differences of one deviation in all folds, whatever their witnesses' means."""
    draws = np.random.default_rng(0).normal(0, 2, (4000, len(FOLDS)))
    shift = {"views": 3, "performers": -1, "msr": 0}
    found = [
        compare({fold: value + shift[FOLDS[fold].witness] for fold, value in zip(FOLDS, row)})
        for row in draws
    ]  # fmt: skip
    for pick in (lambda one: one.whole, lambda one: one.witnesses["views"], lambda one: one.witnesses["msr"]):
        means, errors = zip(*((pick(one).mean, pick(one).error) for one in found))
        assert np.mean(np.square(errors)) == pytest.approx(np.var(means), rel=0.08)


def test_a_witness_weighs_the_same_whatever_its_folds():
    found = compare(of_witness(views=(3, 3), performers=(0,) * 5, msr=(0,) * 5))
    assert found.whole == Estimate(1.0, 0.0)


def test_without_all_witnesses_there_is_no_mean_over_them():
    found = compare({"1to2": 1.0, "2to1": 2.0})
    assert found.witnesses["views"].mean == 1.5 and math.isnan(found.whole.mean)
    assert math.isnan(compare({"1to2": 1.0}).deviation) and math.isnan(compare({}).whole.error)


def test_pairs_are_of_one_fold_and_one_seed_and_seeds_are_averaged_in_their_fold():
    base = {
        ("1to2", seed): line("v1", "1to2", seed, top1) for seed, top1 in ((0, 80.0), (1, 90.0), (2, 10.0))
    }
    better = {
        ("1to2", seed): line("a", "1to2", seed, top1) for seed, top1 in ((0, 83.0), (1, 91.0), (3, 99.0))
    }
    assert fold_means(better, base, "top1_ema") == {"1to2": 2.0}


def test_what_all_pairs_share_changes_no_difference():
    """A fold that is hard, or a seed that is lucky, for the candidate and the base alike."""

    def hard(fold, seed):
        return 10 * len(fold) - 7 * seed

    seeds = (0, 1, 4)
    base = {(one["fold"], one["seed"]): one for one in trial("v1", hard, seeds)}
    lines = trial("a", lambda fold, seed: hard(fold, seed) + KNOWN[fold], seeds)
    found = fold_means({(one["fold"], one["seed"]): one for one in lines}, base, "top1_ema")
    assert found == pytest.approx(KNOWN)


@pytest.mark.parametrize(
    ("mean", "error", "word"),
    [(2.0, 1.0, "adopted"), (1.99, 1.0, "goes on"), (1.01, 1.0, "goes on"), (1.0, 1.0, "dropped"),
     (-3.0, 1.0, "dropped"), (0.0, 0.0, "dropped"), (0.1, 0.0, "adopted"), (1.0, math.nan, "dropped")],
)  # fmt: skip
def test_the_rule(mean, error, word):
    assert verdict(Estimate(mean, error)) == word and ADOPTED == 2


def table_rows(said):
    """Trial -> the cells of its rows, one for each measure."""
    found = {}
    for row in re.findall(r"^\| (.*) \|$", said, re.MULTILINE):
        name, *cells = (cell.strip() for cell in row.split("|"))
        found.setdefault(name, []).append(cells)
    return found


def test_the_command_prints_a_verdict_of_each_candidate(tmp_path):
    out, more = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for one in trial("v1", lambda fold, seed: 0.0) + trial("worse", lambda fold, seed: -KNOWN[fold]):
        append_line(out, one)
    for one in trial("better", lambda fold, seed: KNOWN[fold]):
        append_line(more, one)
    said = script(search_tables, "--against", "v1", out, more)
    rows = table_rows(said)
    assert list(rows)[1:] == ["v1", "better", "worse", "NLL, less is better"]
    assert rows["v1"][0] == ["0", "90.00", "90.00", "90.00", "90.00", "", ""]
    top1, nll = rows["better"]
    assert top1 == ["0", "+2.00 ± 0.75", "+1.00 ± 0.47", "+3.00 ± 0.47", "+2.00 ± 0.33", "1.05", "adopted"]
    assert nll[1] == "-0.0200 ± 0.0075" and nll[-1] == "adopted"
    assert rows["worse"][0][4:] == ["-2.00 ± 0.33", "1.05", "dropped"]
    assert "missing" not in said and "no trial 'v0'; there are: v1, worse" in script(
        search_tables, "--against", "v0", out, expect=1
    )


def test_what_is_missing_or_failed_is_said_and_there_is_no_verdict():
    base = trial("v1", lambda fold, seed: 0.0, (0, 1))
    lines = trial("a", lambda fold, seed: 5.0, (1,))
    assert table_rows(decision(base + lines, "v1"))["a"][0][-1] == "adopted"  # of seed 0 nothing is asked
    lines[3] = failed("a", lines[3]["fold"], 1)
    said = decision(base + lines[1:], "v1")
    assert "- a: missing: 1to2 seed 1\n" in said
    assert f"- a: failed (out of memory): {lines[3]['fold']} seed 1" in said
    assert table_rows(said)["a"][0][-1] == "none"
    assert "all three" in said and table_rows(said)["a"][0][1] == "+5.00 ± 0.00"  # of what there is
    said = decision(
        [one for one in base if one["seed"] == 0] + trial("a", lambda fold, seed: 5.0, (1,)), "v1"
    )
    assert "- a: of the base missing: 1to2 seed 1, 2to1 seed 1" in said


def test_a_training_that_was_done_again_counts_once_and_the_first_time():
    base = trial("v1", lambda fold, seed: 0.0)
    lines = trial("a", lambda fold, seed: 1.0 + KNOWN[fold])
    again = [failed("a", "1to2"), *lines, line("a", "2to1", top1=0.0)]
    assert decision(base + again, "v1") == decision(base + lines, "v1")
    with pytest.raises(
        TsgcError, match="a 2to1 seed 0: trainings of different settings; expected results of"
    ):
        decision([*base, *lines, line("a", "2to1", key="another")], "v1")


def test_more_visits_than_the_base_has_are_no_pair_for_the_rule():
    base = {("1to2", 0): line("v1", "1to2")}
    told = gaps({("1to2", 0): line("a", "1to2", clips=770_000)}, base)
    assert told["770,000 visits, the base 300,000"] == ["1to2 seed 0"]
    assert gaps({("1to2", 0): line("a", "1to2", clips=300_500)}, base).keys() == {
        "missing",
        "of the base missing",
    }
