"""Published figures: the same as the page that lists them, and the nearest one to compare with."""

from pathlib import Path

import pytest

from tsgc.evaluation.published import PUBLISHED, nearest_published, published_figures

RESULTS = Path(__file__).parents[2] / "docs/results.md"


@pytest.mark.parametrize("figure", PUBLISHED, ids=lambda figure: f"{figure.network} {figure.benchmark}")
def test_every_figure_is_on_the_page_of_results(figure):
    page = RESULTS.read_text()
    assert f"{figure.top1:g}" in page or f"{figure.top1:.2f}" in page
    assert figure.clean is None or f"({figure.clean:.2f})" in page


def test_the_same_streams_go_first_then_the_same_network():
    assert nearest_published("nw-ucla/xview", "TSGCNeXt", "joint", 1).top1 == 96.55
    assert nearest_published("nw-ucla/xview", "ctrgcn", "joint", 1).top1 == 93.97
    assert nearest_published("nw-ucla/xview", "TSGCNeXt", "bone", 1).network == "CTR-GCN"
    assert nearest_published("ntu60/xsub", "TSGCNeXt", "bone", 1).streams == "joint"
    assert nearest_published("ntu60/xsub", "TSGCNeXt", "joint + bone", 2).top1 == 92.91
    assert nearest_published("mine/people", "TSGCNeXt", "joint", 1) is None
    assert nearest_published("ntu60/xsub", "TSGCNeXt", "joint", 7) is None


def test_prepared_forms_of_a_data_set_have_its_figures():
    assert published_figures("ntu60-corrected-aligned/xsub") == published_figures("ntu60/xsub") != []
