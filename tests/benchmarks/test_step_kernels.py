"""`benchmarks/step_kernels.py` takes any network and input, and without a GPU says so in a line."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks/step_kernels.py"
EXAMPLES = re.findall(r"python benchmarks/step_kernels\.py\b *([^#\n]*)", SCRIPT.read_text())
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: it would be profiled")


def told(monkeypatch, words: str) -> str:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *shlex.split(words)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return str(ended.value)


@pytest.mark.parametrize("words", EXAMPLES)
def test_the_examples_build_what_is_timed_and_ask_for_a_gpu(monkeypatch, words):
    assert "the times are a GPU's, and torch finds none here" in told(monkeypatch, words)


@pytest.mark.parametrize(
    "words, says",
    [
        ("--network stgcn++ --input nw-ucla --batch 2", "error: ST-GCN++, joint, nw-ucla, batch 2"),
        ("--network tsgcnext2 --modality joint+bone", "error: TSGCNeXt2 252, joint+bone, ntu, batch 128"),
        ("--variant 253", "--variant 253: expected one of 252"),
        ("--network resnet", "network 'resnet': expected one of tsgcnext"),
    ],
)
def test_what_is_timed_or_wrong_is_one_line(monkeypatch, words, says):
    said = told(monkeypatch, words)
    assert says in said and "\n" not in said
