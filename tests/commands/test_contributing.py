"""docs/contributing.md: what it adds to a copy of the project works there; its tree is what there is."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import cli

ROOT = Path(cli.__file__).parent
PAGE = (ROOT / "docs/contributing.md").read_text()
BLOCKS = re.findall(r"```(python|yaml|console)\n(.*?)```", PAGE, re.DOTALL)
HEAD = re.compile(r"# (\S+\.(?:py|yaml))(?:, (import|above|in)(?: (\w+))?)?\n")
LEANS = """
from tsgc.config import TrainConfig
from tsgc.input.augmentations import AUGMENTATIONS
import torch
(lean,) = [entry for entry in AUGMENTATIONS if entry.name == "lean"]
assert lean.on(TrainConfig(lean=0.1)) and not lean.on(TrainConfig())
moved = lean.rows(torch.ones(2, 3, 3), {"slope": torch.tensor([[0.5], [0.0]])}, None)
assert moved[0, 0].tolist() == [1.5, 1, 1] and moved[1, 0].tolist() == [1, 1, 1]
"""
PACKAGES = ("cli.py", "pipelines", "shards", "tsgc", "configs")


def insert(text: str, line: int, added: str) -> str:
    """`added` before line number `line`, from 0."""
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:line], added, *lines[line:]])


def defined(tree: ast.Module, name: str) -> ast.stmt:
    """The statement of a module that defines a table or a class."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        if any(name in (getattr(target, "id", ""), getattr(target, "name", "")) for target in targets):
            return node
    raise AssertionError(f"{name}: the page says that it is there")


def last_line(node: ast.stmt) -> int:
    """The last line of what a table lists, or of a class."""
    if isinstance(node, ast.ClassDef):
        return node.end_lineno
    listed = max((part for part in ast.walk(node) if isinstance(part, (ast.Tuple, ast.List, ast.Dict))),
                 key=lambda part: part.end_lineno - part.lineno)  # fmt: skip
    return (listed.values if isinstance(listed, ast.Dict) else listed.elts)[-1].end_lineno


def apply(root: Path, block: str) -> None:
    """Write a block of the page where its first line says."""
    head = HEAD.match(block)
    path, how, name = root / head[1], head[2], head[3]
    added = block[head.end() :]
    if how is None:
        assert not path.exists(), f"{path}: the page calls it new"
        path.write_text(added)
        return
    text = path.read_text()
    tree = ast.parse(text)
    if how == "import":
        line = max(n.end_lineno for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom)))
    elif how == "above":
        line, added = defined(tree, name).lineno - 1, f"{added}\n\n"
    else:
        line = last_line(defined(tree, name))
    path.write_text(insert(text, line, added))
    ast.parse(path.read_text())


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """A copy of the project with everything that the page adds."""
    root = tmp_path_factory.mktemp("house")
    for name in PACKAGES:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, root / name)
    for kind, block in BLOCKS:
        if kind == "python" and HEAD.match(block):
            apply(root, block)
    return root


def run(root: Path, place: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(root), "TSGC_DATA": "data"}
    done = subprocess.run(
        [sys.executable, *command], cwd=place, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow  # a process for each command, among them a training
def test_what_the_page_adds_is_used_from_the_command_line(added, tmp_path):
    """The page's last blocks, in order: clips, then prepare, shard, train, predict."""
    said = {}
    for kind, block in BLOCKS:
        if kind == "python" and not HEAD.match(block):
            run(added, tmp_path, "-c", block)
        for line in re.findall(r"^\$ tsgc (.*)$", block, re.MULTILINE) if kind == "console" else []:
            words = shlex.split(line)
            said[" ".join(words[:2])] = run(added, tmp_path, "-m", "tsgc", *words)
    assert "48 kept" in said["prepare dances"] and "dances/people: 32 train, 16 test" in said["shard dances"]
    (folder,) = (tmp_path / "runs/dances/people/mini/joint_acceleration").iterdir()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["lean"] == 0.1 and config["variant"] == "mini"
    assert (folder / "scores/last.npz").is_file()
    run(added, tmp_path, "-c", LEANS)
    assert re.search(r"(waltz|tango)\D+\d+\.\d\d", said["predict data/dances/tango_p06_t00.npy"])
    assert "48 kept" in said["prepare custom"] and "kinect1-20" in said["inspect data/prepared/recorded.h5"]


def test_a_name_of_no_table_is_told(tmp_path):
    (tmp_path / "a.py").write_text("A = {\n    1: 2,\n}\n")
    apply(tmp_path, "# a.py, in A\n    3: 4,\n")
    apply(tmp_path, "# a.py, above A\nB = 1\n")
    assert (tmp_path / "a.py").read_text() == "B = 1\n\n\nA = {\n    1: 2,\n    3: 4,\n}\n"
    with pytest.raises(AssertionError, match="C: the page says"):
        apply(tmp_path, "# a.py, in C\n    3: 4,\n")
    with pytest.raises(AssertionError, match="the page calls it new"):
        apply(tmp_path, "# a.py\nA = 1\n")


def test_the_tree_has_every_folder():
    tree = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)[1]
    listed = {name.rstrip("/") for name in re.findall(r"^ *(\S+)", tree, re.MULTILINE)}
    made = {"data", "runs", "demo", "build", "dist"}  # .gitignore's
    top = {
        path.name for path in ROOT.iterdir() if path.is_dir() and not re.search(r"^[._]|egg-info$", path.name)
    }
    inner = {
        path.parent.name
        for name in ("pipelines", "shards", "tsgc")
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert listed == (top - made) | inner | {"cli.py"}
