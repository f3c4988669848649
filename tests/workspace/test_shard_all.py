"""`tsgc shard` with nothing named makes what is missing, and `tsgc train` says what is to be sharded."""

import shutil

import pytest
from made.command import fails, tsgc
from made.shard_sets import make_store


@pytest.fixture
def prepared(here):
    """The prepared ntu60 file of 61 made clips, below ./data."""
    return make_store(here / "data/prepared/ntu60.h5", clips=61)


def test_bare_shard_makes_what_is_missing_and_leaves_the_rest(here, prepared):
    tsgc("shard", "ntu60", "--benchmark", "xsub", "--jobs", 1)
    manifest = here / "data/shards/ntu60/xsub/manifest.json"
    before = manifest.stat().st_mtime_ns
    said = tsgc("shard", "--jobs", 1).splitlines()
    assert said[0] == "data/shards/ntu60/xsub: there already" and said[1].startswith("ntu60/xview: ")
    assert tsgc("shard", "--jobs", 1).splitlines() == [
        f"data/shards/ntu60/{split}: there already" for split in ("xsub", "xview")
    ]
    assert manifest.stat().st_mtime_ns == before
    assert tsgc("shard", "--quiet") == ""


def test_what_is_named_and_there_needs_overwrite(prepared):
    tsgc("shard", "--jobs", 1)
    for words in (["ntu60"], ["--benchmark", "xsub"], ["--prepared", prepared]):
        assert "there already; give --overwrite" in fails("shard", *words)


def test_a_benchmark_in_a_data_sets_place_is_told_how_it_is_given(prepared):
    said = fails("shard", "ntu60/xsub", code=2)
    assert "a benchmark, expected a data set; give `tsgc shard ntu60 --benchmark xsub`" in said
    assert "ntu120/xsub: not prepared under data" in fails("shard", "ntu120/xsub")


def test_sets_of_another_file_are_told_even_with_quiet(here, prepared):
    tsgc("shard", "--jobs", 1)
    make_store(prepared, clips=64)
    said = tsgc("shard", "--quiet").splitlines()
    assert len(said) == 2 and all("made from another data/prepared/ntu60.h5 than is there now" in line
                                  for line in said)  # fmt: skip
    assert said[0].endswith("`tsgc shard ntu60 --benchmark xsub --overwrite` makes it anew")
    tsgc("shard", "--overwrite", "--jobs", 1)
    assert "another" not in tsgc("shard")
    assert "but with --seed 0; " in tsgc("shard", "--seed", 1)
    (here / "data/shards/ntu60/xsub/manifest.json").unlink()
    assert "there already, but not whole: " in tsgc("shard")


def test_training_on_what_is_only_prepared_says_how_to_shard_it(here, prepared):
    assert "prepared, but not sharded under data; run `tsgc shard ntu60` first" in fails("train")
    assert "ntu60: prepared, but not sharded under data; run `tsgc shard ntu60` first" in fails(
        "train", "ntu60"
    )
    assert "run `tsgc shard ntu60` first" in fails("train", "ntu60/xsub")
    shutil.copy(prepared, prepared.with_name("other.h5"))
    assert "run `tsgc shard` first" in fails("train")
    tsgc("shard", "ntu60", "--benchmark", "xsub", "--jobs", 1)
    assert "run `tsgc shard other` first" in fails("train", "other/xsub")
    assert "run `tsgc shard ntu60 --benchmark xview` first" in fails("train", "ntu60/xview")
    assert "did you mean ntu60/xsub?" in fails("train", "ntu60/xsubs")
    assert "not sharded under data; there are: ntu60/xsub" in fails("train", "nw-ucla")
