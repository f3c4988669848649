"""The tables of benchmarks/nw_ucla/README.md, from results of the search."""

import search_tables
from made.search import script
from nw_ucla.search import append_line
from nw_ucla.tables import trial_table


def made_line(name, fold, seed, top1, **more):
    mark = {"epoch": 9, "loss": 0.5, "top1": top1 - 1, "top1_ema": top1, "nll": 0.3, "nll_ema": 0.2}
    return {
        "key": f"{name}{fold}{seed}", "name": name, "set": {"lr": 0.1}, "fold": fold, "seed": seed,
        "variant": "252", "modality": "joint", "status": "ok", "clips": 250_123, "marks": [mark],
        "seconds": 9.0, "clips_per_second": 1000, **more,
    }  # fmt: skip


def test_a_fold_with_a_seed_more_weighs_no_more():
    lines = [made_line("a", "2to1", seed, top1) for seed, top1 in ((0, 80.0), (1, 84.0), (2, 82.0))]
    row = trial_table([*lines, made_line("a", "1to2", 0, 90.0)]).splitlines()[2]
    assert row.startswith("| a | lr=0.1 | 0.25 | 1 / 3 | 86.00 | 90.0 / 82.0 | 85.00 |")
    row = trial_table(lines).splitlines()[2]
    assert row.startswith("| a | lr=0.1 | 0.25 | 3 | 82.00 | 82.0 | 81.00 |")


def test_the_page_gets_the_tables_of_the_results(tmp_path):
    trials, page = tmp_path / "stage1.jsonl", tmp_path / "page.md"
    for line in (
        made_line("worse", "1to2", 0, 80.0), made_line("worse", "2to1", 0, 84.0),
        made_line("better", "1to2", 0, 90.0), made_line("better", "2to1", 0, 92.0),
        made_line("broken", "1to2", 0, 0.0, status="failed", error="out of memory", clips=None),
    ):  # fmt: skip
        append_line(trials, line)
    page.write_text("# Page\n<!-- stage1 -->\nstale\n<!-- end -->\ntext\n")
    script(search_tables, "--write", page, trials)
    text = page.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[1].startswith("| better | lr=0.1 | 0.25 | 1 | 91.00 | 90.0 / 92.0 | 90.00 | 0.200 | 0.50 |")
    assert rows[2].startswith("| worse") and "failed: out of memory" in rows[3]
    assert "stale" not in text and "text" in text
    nowhere = tmp_path / "nowhere.jsonl"
    said = script(search_tables, "--write", page, trials, nowhere, expect=1)
    assert f"{nowhere}: no such file" in said
    nowhere.write_bytes(trials.read_bytes())
    said = script(search_tables, "--write", page, trials, nowhere, expect=1)
    assert "no place for nowhere" in said
