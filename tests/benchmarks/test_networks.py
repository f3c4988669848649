"""The table of networks by recipes: seeds as mean and deviation, streams fused."""

import re
import subprocess
import sys
from pathlib import Path

from made.run_folders import make_run_folder

import cli

SCRIPT = Path(cli.__file__).parent / "benchmarks/networks.py"


def table(*words):
    done = subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_a_row_has_mean_and_deviation_of_each_stream_and_of_the_fusion(tmp_path):
    for seed in (0, 1):
        for modality in ("joint", "bone"):
            folder = make_run_folder(tmp_path, modality=modality, variant="tiny", seed=seed)
            (folder / "checkpoints/last.safetensors").unlink()
    code, said, _ = table(f"ours={tmp_path}")
    assert code == 0
    head, _, row = said.strip().splitlines()
    assert head.startswith("|  | M parameters | GFLOPs | joint | bone |")
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    figure = r"\d+\.\d\d ± \d+\.\d\d( \(\d+\.\d\d ± \d+\.\d\d\))?"
    assert cells[0] == "ours" and cells[5:7] == ["", ""] and cells[8] == "2"
    assert all(re.fullmatch(figure, cells[place]) for place in (3, 4, 7))


def test_a_folder_without_runs_is_one_line(tmp_path):
    code, _, said = table(f"x={tmp_path}")
    assert code == 1 and "no runs below it" in said
