"""The programs that tune kernels run to their end, here by Triton's interpreter on next to no data."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="torch comes without Triton here")

from kernel_cuts import CANDIDATES, DROPPED, INPUTS

from tsgc.kernels.tunings import LIBRARY_TUNINGS, TUNINGS

FOLDER = Path(__file__).parents[2] / "benchmarks"


def facts_of(program: str, out: Path, *words: str) -> list[dict[str, object]]:
    """What a program writes into its file."""
    given = ["--device", "cpu", "--widths", "48", "--rows", "1", "--frames", "1", "--out", str(out), *words]
    done = subprocess.run([sys.executable, FOLDER / program, *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.slow
def test_kernels_are_checked_timed_and_the_best_cut_is_told(tmp_path):
    words = ["--input", "nw-ucla", "--joints", "13", "--few", "2", "--kinds", "temporal", "narrow", "gather"]
    found = facts_of("tune_kernels.py", tmp_path / "out.jsonl", *words)
    checked = [line for line in found if "check" in line]
    assert len(checked) == 4 and not any(line["wrong"] for line in checked)
    timed = [line["cut"] for line in found if "cut" in line and "ms" in line]
    assert [cut[1] for cut in timed] == ["temporal"] * 2 + ["narrow"] * 2  # the third is not for CPUs
    blocks = [line["ms"] for line in found if "block" in line]
    assert len(blocks) == 4 and all(ms.keys() == {"tuned", "library", "plain"} for ms in blocks)
    (tuning,) = (line["tuning"] for line in found if "tuning" in line)
    assert {*map(tuple, CANDIDATES["temporal"][48][:2])} >= {tuple(tuning["temporal"])}


@pytest.mark.slow
def test_the_librarys_road_is_timed_beside_plain_blocks(tmp_path):
    found = facts_of("tune_library.py", tmp_path / "out.jsonl", "--precision", "float32")
    names = [line["cut"] for line in found if "ms" in line]
    assert names[:2] == ["block, as cut", "block, plain"]
    assert any(name.startswith("backward (32, 16, 2") for name in names)


def test_every_width_has_candidates_and_the_tables_cut_is_one_that_can_be_compared():
    for width, tuning in TUNINGS.items():
        assert width in DROPPED and all(width in of.frames for of in INPUTS.values())
        kinds = [
            "temporal",
            "backward",
            "outer",
            "narrow",
            *(["forward"] if tuning.fused else ["expand", "contract"]),
        ]
        for kind in kinds:
            assert getattr(tuning, kind) in CANDIDATES[kind][width], (width, kind)
        assert not tuning.gather or tuning.gather in CANDIDATES["gather"][width]
        cut = tuning.temporal_backward
        assert cut in CANDIDATES["temporal_backward"][width], width
    assert TUNINGS.keys() == LIBRARY_TUNINGS.keys()


def test_chunks_divide_their_width():
    for width, tuning in TUNINGS.items():
        hidden = [tuning.forward[2], tuning.expand[2], tuning.backward.hidden, LIBRARY_TUNINGS[width].mix[1]]
        hidden += [LIBRARY_TUNINGS[width].backward.hidden, *([tuning.gather.hidden] if tuning.gather else [])]
        hidden += [cut[2] for cut in [*CANDIDATES["forward"][width], *CANDIDATES["expand"][width]]]
        hidden += [cut[1] for cut in CANDIDATES["backward"][width]]
        assert [width % chunk for chunk in hidden] == [0] * len(hidden), width
        outer = [tuning.outer, *CANDIDATES["outer"][width]]
        assert [4 * width % cut[0] for cut in outer] == [0] * len(outer), width
