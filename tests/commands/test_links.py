"""Whatever a page, a docstring or a comment points at is there: files, anchors, modules, names in them."""

import ast
import io
import re
import tokenize
from collections import Counter
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import cli

ROOT = Path(cli.__file__).parent
PACKAGES = ("pipelines", "shards", "tsgc")
FOLDERS = (*PACKAGES, "tests", "benchmarks", "docs", "configs")
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md"]
    + [page for folder in ("docs", "benchmarks") for page in (ROOT / folder).rglob("*.md")]
)
SOURCES = sorted([ROOT / "cli.py", *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))])
SETTINGS = sorted(
    [ROOT / "Makefile", ROOT / ".ci/run", ROOT / "pyproject.toml"]
    + [path for folder in ("configs", "benchmarks") for path in (ROOT / folder).rglob("*.yaml")]
)
LINK = re.compile(r"\]\(([^)]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
FILE = re.compile(
    rf"(?<![\w/.<-])(?:{'|'.join(FOLDERS)})/[\w/.*-]+\.(?:py|md|yaml|jsonl|html|js|css|png|gif)\b"
)
SCRIPT = re.compile(r"`(\w+\.py)`")
DOTTED = re.compile(r"(?<![\w./-])(?:pipelines|shards|tsgc)(?:\.\w+)+")
QUOTED = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\(\))?`")
# Names with a dot that are files, of data, of runs and of other programs.
ENDINGS = {
    "cls", "css", "csv", "gif", "h5", "html", "js", "json", "jsonl", "lock", "md", "npy", "npz", "onnx",
    "pickle", "pkl", "png", "pt", "pt2", "pth", "py", "safetensors", "skeleton", "tar", "txt", "yaml", "zip",
}  # fmt: skip
# Modules under the names that everybody gives them, and what belongs to somebody else or stands for anything.
ABBREVIATED = {"np", "nn", "wds", "optim"}
FOREIGN = {"Generator", "ModelEmaV3", "ZipFile", "document", "outer", "self"}
# Variables of the examples in docs/api.md, and what they are.
VARIABLES = {"data": "ShardSet", "train": "TrainBatches", "batch": "Batch"}
# Its blocks add files, to a copy of the project (test_contributing.py).
ADDS = ROOT / "docs/contributing.md"
# Sources that talk of files and names which are not there: of made-up ones, to test a check with.
MADE_UP = {ROOT / "tests/commands/test_links.py", ROOT / "tests/test_layout.py"}


def name(path):
    return str(path.relative_to(ROOT))


def prose(text):
    """A page without its code blocks."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(page):
    """The anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page.read_text()), re.MULTILINE)
    seen, found = Counter(), set()
    for title in titles:
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(page):
    found = [one or other for one, other in LINK.findall(prose(page.read_text()))]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    for target in links(page):
        place, _, anchor = target.partition("#")
        there = (page.parent / place).resolve() if place else page
        assert there.exists(), f"{target}: no such file"
        assert there.is_relative_to(ROOT), f"{target}: leaves the repository"
        if anchor:
            assert anchor in anchors(there), f"{target}: the headings there are {sorted(anchors(there))}"


def test_every_page_is_one_click_from_the_index():
    index = ROOT / "docs/README.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in links(index)}
    assert {name(page) for page in (ROOT / "docs").glob("*.md")} - {name(page) for page in linked} == {
        name(index)
    }
    assert ROOT / "benchmarks/README.md" in linked
    assert "docs/README.md" in links(ROOT / "README.md")
    laboratory = {(ROOT / "benchmarks" / target).resolve() for target in links(ROOT / "benchmarks/README.md")}
    assert set((ROOT / "benchmarks").rglob("*.md")) - laboratory == {ROOT / "benchmarks/README.md"}


def said(path):
    """What a file says to its readers: a page whole, of code its docstrings and comments."""
    text = path.read_text()
    if path.suffix != ".py":
        return prose(text) if path == ADDS else text
    parts = [token.string for token in tokenize.generate_tokens(io.StringIO(text).readline)
             if token.type == tokenize.COMMENT]  # fmt: skip
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            parts.append(str(node.value.value))
    return "\n".join(parts)


@pytest.mark.parametrize("path", sorted({*PAGES, *SOURCES, *SETTINGS} - MADE_UP), ids=name)
def test_every_file_and_name_that_is_mentioned_is_there(path):
    text = said(path)
    wrong = [f"{file}: no such file" for file in FILE.findall(text) if not any(ROOT.glob(file))]
    files = {source.name for source in SOURCES}
    wrong += [f"{script}: no such script" for script in SCRIPT.findall(text) if script not in files]
    for dotted in DOTTED.findall(text):
        words = dotted.split(".")
        if words[-1] not in ENDINGS and not known(words):
            wrong.append(f"{dotted}: no such module, or no such name in it")
    for quoted in QUOTED.findall(text):
        words = quoted.split(".")
        if words[-1] not in ENDINGS and words[0] not in PACKAGES and not (foreign(words[0]) or short(words)):
            wrong.append(f"{quoted}: no module or class of ours has it")
    assert not wrong, "\n".join(wrong)


@cache
def foreign(word):
    """Whether `word` is somebody else's."""
    return word in FOREIGN | ABBREVIATED or (word not in FOLDERS and find_spec(word) is not None)


@cache
def names(path):
    """What a module defines at its top level, and what its classes do: {name: {names inside}}."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            inside = {target for part in node.body for target in defined(part)}
            for base in node.bases:
                inside |= found.get(ast.unparse(base), set())
            inits = [part for part in node.body if getattr(part, "name", "") == "__init__"]
            for part in (piece for init in inits for piece in ast.walk(init)):
                if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
                    inside.add(part.attr)
            found[node.name] = inside
        else:
            found.update({target: set() for target in defined(node)})
    return found


def defined(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def inside(path, words):
    """Whether the module defines words[0], and that words[1], if they are given."""
    if not words:
        return True
    found = names(path)
    return words[0] in found and (len(words) == 1 or words[1] in found[words[0]])


def known(words):
    """Whether `tsgc.input.crop.NAME` and its like lead somewhere."""
    for length in range(len(words), 0, -1):
        place = ROOT.joinpath(*words[:length])
        if place.with_suffix(".py").is_file():
            return inside(place.with_suffix(".py"), words[length:])
        if (place / "__init__.py").is_file():
            rest = words[length:]
            return not rest or inside(place / "__init__.py", rest) or exports(words[:length], rest)
    return False


def exports(package, rest):
    """Whether a package gives out a name that one of its modules defines."""
    return rest[0] in getattr(import_module(".".join(package)), "__all__", ()) and len(rest) == 1


def short(words):
    """Whether `module.name` or `Class.name` is said of one of ours; `config` is a TrainConfig, too."""
    if words[0] == "config":
        return any(words[1] in fields for fields in names(ROOT / "tsgc/train_config.py").values())
    words = [VARIABLES.get(words[0], words[0]), *words[1:]]
    for path in SOURCES:
        module = path.parent.name if path.name == "__init__.py" else path.stem
        if module == words[0] and inside(path, words[1:]):
            return True
        if words[0] in names(path) and (len(words) == 1 or words[1] in names(path)[words[0]]):
            return True
    return False


def test_a_stale_name_would_be_found():
    """The check itself: what is there is known, what is not is not."""
    assert known(["tsgc", "input", "crop"]) and known(["tsgc", "networks", "VARIANTS"])
    assert known(["tsgc", "load_run"]) and not known(["tsgc", "load_runs"])
    assert not known(["tsgc", "model", "VARIANTS"]) and not known(["tsgc", "variants", "NONE"])
    assert short(["TrainConfig", "epochs"]) and not short(["TrainConfig", "epoch"])
    assert FILE.findall("see `tsgc/train.py`, docs/search.md.") == ["tsgc/train.py", "docs/search.md"]
