"""What all inputs share: official lists, recipes by name, what is held out, and the guide that lists them."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets.table import DATASETS, OPENERS, find_dataset, hold_out
from pipelines.errors import TsgcError
from pipelines.exclude import Exclusion, read_exclusion
from pipelines.prepared.report import Report
from pipelines.reading.sources import RawFile
from tsgc.config import recipe_file

GUIDE = (Path(__file__).parents[3] / "docs/datasets.md").read_text()
HEADING = """302 of the captured samples in the "NTU RGB+D" dataset have missing or incomplete skeleton data.
If you are working on skeleton-based analysis, please ignore these files in your training.

"""


def read_list(path: Path) -> Exclusion:
    here = {"S001C002P005R002A008": [RawFile(Path("raw/S001C002P005R002A008.skeleton"))]}
    return read_exclusion(path, find_dataset("ntu60"), here, [Path("raw")])


def test_an_official_list_is_read_as_it_is_published(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(HEADING + "S001C002P005R002A008\nS001C002P006R001A008\n")
    said = read_list(path)
    assert said.clips == {"S001C002P005R002A008"}
    assert said.line == f"2 names read from {path}, 1 fit a clip here, 2 lines above them passed over"


@pytest.mark.parametrize(
    "text", ["S001C002P005R002A008\nand some others\n", "samples\n", HEADING + "P001 S001\nx\n"]
)
def test_a_line_that_is_no_name_is_not_passed_over(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(TsgcError, match="expected one clip name a line"):
        read_list(path)


@pytest.mark.parametrize(("name", "raw", "usable"), [("ntu60", 56_880, 56_578), ("ntu120", 114_480, 113_945)])
def test_a_count_other_than_the_official_says_where_the_list_is(name: str, raw: int, usable: int) -> None:
    dataset = find_dataset(name)
    assert dataset.official == (raw, usable)
    report = Report(
        name, "reference", [], "x.h5", dataset.official, dataset.unusable, found=raw, kept=usable + 3
    )
    (line,) = [line for line in report.lines() if line.startswith("official: ")]
    assert f"3 more than the official {usable:,}" in line and "github.com/shahroudy/NTURGB-D" in line
    assert dataset.unusable.rpartition(" ")[2] in GUIDE


@pytest.mark.parametrize(
    ("benchmark", "recipe"),
    [
        ("ntu60/xsub", "ntu60"),
        ("ntu120-corrected/xset", "ntu120"),
        ("nw-ucla-corrected-aligned/xview", "nw-ucla"),
        ("nw-ucla-ctrgcn/xview", "nw-ucla"),  # whose recipe of that name is CTR-GCN's, chosen by hand
        ("nw-ucla-ctrgcn-aligned/xview", "nw-ucla"),
        ("NTU60_CS/xsub", "ntu60"),
        ("ntu60_hrnet/xsub", "ntu60_hrnet"),
        ("ntu60_hrnet-corrected/xsub", "ntu60_hrnet"),
        ("kinetics/official", "kinetics"),
        ("gestures/people", "custom"),
        ("ntu/xsub", "custom"),
    ],
)
def test_a_recipe_is_found_by_the_beginning_of_a_name(benchmark: str, recipe: str) -> None:
    assert recipe_file(benchmark).stem == recipe


def test_whole_performers_are_held_out_where_they_are_known() -> None:
    performers = np.repeat(np.arange(1, 21), 10)
    held = hold_out("ntu60_hrnet", ["x"] * 200, {"performers": performers})
    assert 0 < held.mean() < 0.3
    assert not set(performers[held]) & set(performers[~held])


def test_one_clip_in_ten_is_held_out_otherwise_whatever_the_order() -> None:
    names = [f"clip-{number}" for number in range(2000)]
    held = hold_out("gestures", names, {})
    assert 0.08 < held.mean() < 0.12
    np.testing.assert_array_equal(hold_out("gestures", names[::-1], {}), held[::-1])


def test_the_guide_names_every_input_and_only_those() -> None:
    lines = re.findall(r"^\$ tsgc prepare (.+)$", GUIDE, re.MULTILINE)
    prepared = {shlex.split(line)[0] for line in lines}
    assert prepared <= {*DATASETS, *OPENERS}
    for name in (*DATASETS, *OPENERS):
        assert f"tsgc prepare {name}" in GUIDE or f", `{name}`" in GUIDE
    for opener in OPENERS.values():
        assert any(place.split("/")[0] in GUIDE for place in opener.raw)
