"""What the ladder chooses on GPUs that are not here compiles, and asks for no more than they have."""

import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="torch comes without Triton here")

from tsgc.kernels import cards, ladder
from tsgc.kernels.tunings import LIBRARY_TUNINGS, NARROW_RUNGS, TUNINGS, WIDE_RUNGS

SCRIPT = Path(__file__).parents[2] / "benchmarks/kernel_asks.py"
# One card of each architecture: the one that has the least. Recorded figures are Triton's that CI has.
CARDS = ("rtx 3060", "t4", "a100", "rtx 4090", "h200", "b200", "rtx 5070", "mi300x")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    alone = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, env=alone)


WIDTHS = (
    (96, 192, 384),
    (32, 48, 64, 128, 256),  # which no GPU has run, and the ladder leaves out as yet
)


def test_every_width_with_a_cut_is_compiled():
    assert sorted(sum(WIDTHS, ())) == sorted(TUNINGS) == sorted(LIBRARY_TUNINGS)
    assert all(set(rung.tunings) <= set(TUNINGS) for rung in (*NARROW_RUNGS, *WIDE_RUNGS))
    assert {ladder.family(cards.CARDS[card]) for card in CARDS} == {*ladder.FAMILIES, "gfx942"}
    assert {cards.CARDS[card].arch for card in CARDS} == {card.arch for card in cards.CARDS.values()}


@pytest.mark.slow
@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("card", CARDS)
def test_what_is_chosen_compiles_and_fits(card, widths):
    done = run("--check", card, "--widths", *map(str, widths))
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(f" {width} " in done.stdout for width in widths)


@pytest.mark.slow
def test_other_narrow_types_and_skeletons_ask_for_no_more():
    """On one of the cards with the least room: Triton compiles anew where 16 divides the joints."""
    done = run("--check", "rtx 4090", "--every", "--widths", "48", "192")
    assert done.returncode == 0, done.stderr[-2000:]
    for dtype, joints in product(("bfloat16", "float16", "float32"), (17, 20, 25, 32)):
        assert re.search(rf"torch.{dtype} 192 \w+ training {joints} ", done.stdout), (dtype, joints)


@pytest.mark.slow
@pytest.mark.parametrize("card", ["t4", "rtx 3060", "h200", "mi300x"])
def test_kernels_of_the_fields_networks_compile_and_fit(card):
    done = run("--field", card)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "branches_weights" in done.stdout and "pairs_backward" in done.stdout


def test_the_table_of_the_documentation_is_what_the_ladder_chooses():
    page = (SCRIPT.parents[1] / "docs/performance.md").read_text()
    assert run("--cards").stdout.strip() in page
