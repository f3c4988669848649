"""What reaches a console that cannot print every letter, and figures where no test clip is clean."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from made.command import tsgc
from made.scores import make_run

from tsgc.console import write_json

NAMES = ["挥手", "café", "😀 wave"]


def run(code: str, encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=300)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_a_console_lacks_are_escaped_and_the_answers_stay(encoding):
    code = (
        "import cli, typer\n"
        "from tsgc.console import Talker\n"
        f"@cli.app.command()\ndef say():\n    for name in {NAMES!r}:\n        Talker().line(name)\n"
        "cli.app(['say'])"
    )
    done = run(code, encoding)
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode(encoding).splitlines()
    assert said == [name.encode(encoding, "backslashreplace").decode(encoding) for name in NAMES]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_in_every_encoding(encoding):
    code = f"from tsgc.console import write_json\nimport orjson\nwrite_json(orjson.dumps({NAMES!r}).decode())"
    done = run(code, encoding)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode(encoding)) == NAMES


def test_json_of_a_console_that_prints_all_has_no_escapes(capsys):
    write_json('["挥手"]')
    assert capsys.readouterr().out == '["挥手"]\n'


def test_where_every_test_clip_repeats_a_training_clip_that_is_said(here):
    runs = [make_run(here, modality, repeats=200) for modality in ("joint", "bone")]
    said = tsgc("ensemble", *runs)
    assert " nan" not in said and ": clean," not in said
    assert "every test clip repeats a training clip" in said
    found = json.loads(tsgc("ensemble", *runs, "--json"))
    assert list(found["parts"]) == ["all"]


def test_verify_of_a_folder_checks_each_set_below_it(here, made):
    folder = shutil.copytree(made / "shards", here / "sets")
    shutil.copytree(folder / "ntu60/xsub", folder / "ntu60/second")
    shutil.copytree(folder / "ntu60/xsub", folder / ".half/xsub")
    said = tsgc("verify", folder)
    assert said.splitlines() == [f"{folder}/ntu60/second: whole", f"{folder}/ntu60/xsub: whole"]
    tar = next((folder / "ntu60/second").glob("train-*.tar"))
    tar.write_bytes(tar.read_bytes()[:-512])
    said = tsgc("verify", folder, expect=1)
    assert str(tar.name) in said and f"{folder}/ntu60/xsub: whole" in said
