"""The table of several runs: means and deviations over seeds, of streams and of fusions seed by seed."""

import statistics

import numpy as np
import pytest
from made.run_folders import make_run_folder

from tsgc.config import TrainConfig
from tsgc.console import Talker
from tsgc.evaluation.scores import read_scores
from tsgc.side_by_side.plan import Member
from tsgc.side_by_side.results import fusions, print_results

FOUR = ("joint", "bone", "joint_motion", "bone_motion")


@pytest.fixture
def members(tmp_path):
    """Four streams of three seeds each; the last run has no scores."""
    made = []
    for seed in range(3):
        for modality in FOUR:
            asked = {"variant": "tiny", "modality": modality, "seed": seed}
            scored = (modality, seed) != ("bone_motion", 2)
            made.append(Member(TrainConfig(**asked), make_run_folder(tmp_path, scored=scored, **asked)))
    return made


def text(values):
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def test_each_row_is_counted_from_the_score_files(members, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    print_results(Talker(), "ntu60/xsub", members)
    printed = capsys.readouterr().out
    rows = {}
    for line in printed.splitlines():
        if line.startswith("│"):
            title, *cells = (cell.strip() for cell in line.strip("│").split("│"))
            rows[title] = cells
    assert list(rows) == [*FOUR, "2s fused", "3s fused", "4s fused"]
    names = [("last", False), ("last", True), ("last-ema", False), ("last-ema", True)]
    for title, streams in {
        "joint": FOUR[:1], "bone_motion": FOUR[3:], "2s fused": FOUR[:2], "4s fused": FOUR,
    }.items():  # fmt: skip
        seeds = range(2 if "bone_motion" in streams else 3)
        expected = [str(len(seeds))]
        for checkpoint, clean in names:
            found = []
            for seed in seeds:
                files = [
                    member.folder / f"scores/{checkpoint}.npz"
                    for member in members
                    if member.config.modality in streams and member.config.seed == seed
                ]
                scores = list(map(read_scores, files))
                kept = ~scores[0].repeats if clean else np.ones(len(scores[0].labels), bool)
                answers = np.sum([one.logits for one in scores], 0).argmax(1)
                found.append(100 * float((answers == scores[0].labels)[kept].mean()))
            expected.append(text(found))
        assert rows[title] == expected, title
    assert "4s: joint + bone + joint_motion + bone_motion of one seed, equal weights" in printed
    assert "(n - 1)" in printed


def test_one_seed_has_no_deviation_and_no_run_no_table(members, tmp_path, capsys):
    print_results(Talker(), "ntu60/xsub", members[:1])
    printed = capsys.readouterr().out
    assert "±" not in printed and "fused" not in printed and "joint" in printed
    print_results(Talker(), "ntu60/xsub", [Member(TrainConfig(), tmp_path / "nowhere")])
    assert capsys.readouterr().out == ""


def test_fusions_are_the_recipes_whose_streams_are_there_and_all_of_them():
    assert set(fusions(FOUR, "252")) == {"2s", "3s", "4s"}
    assert set(fusions(("joint", "bone"), "ctrgcn")) == {"2s"}
    assert fusions(("joint", "angle"), "small") == {"2 streams": (["joint", "angle"], None)}
    assert fusions(("bone", "joint", "angle"), "small")["3 streams"] == (["bone", "joint", "angle"], None)
    assert fusions(("joint",), "small") == {}
