"""Seeds and runs that a command asks for."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.run_folders import make_run_folder

from pipelines.errors import UsageError
from tsgc.config import TrainConfig
from tsgc.side_by_side.plan import Member, parse_seeds

PARTS = st.lists(st.tuples(st.integers(0, 500), st.none() | st.integers(0, 60)), min_size=1, max_size=4)


def said(parts):
    """The words of parts, and the seeds that they mean, one by one."""
    words = ",".join(str(first) if more is None else f"{first}-{first + more}" for first, more in parts)
    return words, [seed for first, more in parts for seed in range(first, first + (more or 0) + 1)]


@given(PARTS)
def test_ranges_and_commas_mean_each_seed_once_in_their_order(parts):
    words, seeds = said(parts)
    if len(set(seeds)) == len(seeds):
        assert parse_seeds(words) == seeds
    else:
        with pytest.raises(UsageError, match=r"seed \d+ is there twice"):
            parse_seeds(words)


@given(st.text(alphabet="0123456789-, ax٣.", max_size=9))
def test_other_words_are_one_line_of_wrong_usage(words):
    try:
        seeds = parse_seeds(words)
    except UsageError as error:
        assert str(error).startswith(f"--seeds {words}: ") and "\n" not in str(error)
    else:
        assert re.fullmatch(r"[0-9, -]+", words) and seeds and min(seeds) >= 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("3-1", "3-1 runs backwards"), ("", "expected a range such as 0-2"), ("0-", "expected a range"),
        ("-1", "expected a range"), ("0,,2", "expected a range"), ("1.5", "expected a range"),
        ("0-100000000000", "more than 1,000 seeds"), ("0,0", "seed 0 is there twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_seeds_is_said(words, why):
    with pytest.raises(UsageError, match=why):
        parse_seeds(words)


def test_a_run_is_over_where_it_is_scored_with_the_settings_asked_for(tmp_path):
    asked = {"variant": "tiny", "modality": "bone", "seed": 2, "epochs": 3, "warmup_epochs": 1}
    config = TrainConfig(**asked)
    whole = make_run_folder(tmp_path / "whole", **asked)
    part = make_run_folder(tmp_path / "part", done=2, **asked)
    assert Member(config, whole, resume=True).over and Member(config, whole, resume=True).taken
    assert not Member(config, whole).over  # --overwrite starts again what is whole
    assert not Member(config, part, resume=True).over
    assert not Member(config, tmp_path / "nowhere", resume=True).over
    longer = TrainConfig(**{**asked, "epochs": 4})
    assert not Member(longer, whole, resume=True).over
    assert Member(config, whole).name == "bone seed 2"
