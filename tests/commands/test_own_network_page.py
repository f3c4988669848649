"""docs/own-network.md: its file is a network, and its commands do what they say."""

import re
import shlex
from pathlib import Path

import pytest
from made.command import quick, tsgc

import cli
from tsgc.network.own import code as own_code

PAGE = (Path(cli.__file__).parent / "docs/own-network.md").read_text()
(SOURCE,) = re.findall(r"```python\n# my.py\n(.*?)```", PAGE, re.DOTALL)
(COMMANDS,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_page_is_true(trained, here, monkeypatch):
    monkeypatch.setattr(own_code, "_admitted", [])
    (here / "my.py").write_text(SOURCE)
    (here / "clips").symlink_to(trained / "data/NW-UCLA/all_sqe")
    monkeypatch.setenv("TSGC_DATA", str(trained / "data"))
    lines = [shlex.split(line.removeprefix("$ tsgc ")) for line in COMMANDS.strip().splitlines()]
    assert [words[0] for words in lines] == ["train", "evaluate", "predict", "export", "bench"]
    more = {"train": quick("last_batch=spread", "frames=20"), "bench": ["--batch", "2", "--steps", "1"]}
    said = {words[0]: tsgc(*words, *more.get(words[0], ())) for words in lines}
    assert "my.Net" in said["train"] and "my.Net" in said["evaluate"] and "TSGCNeXt 252" in said["bench"]
    assert (here / "runs/nw-ucla/xview/my.Net/bone/seed0/export/last.onnx").is_file()
    assert "class" in said["predict"] or "%" in said["predict"]
