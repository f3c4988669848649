"""Writes what pages say of the code: docs/cli.md, half of docs/api.md, the tree of docs/contributing.md.

python docs/generate.py            # write them
python docs/generate.py --check    # say whether they are up to date; exit code 1 if not
"""

import ast
import inspect
import re
import sys
import textwrap
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cli  # noqa: E402
import tsgc  # noqa: E402
from tsgc import data  # noqa: E402

MARK = "<!-- What follows is generated: python docs/generate.py -->"
TREE = ("<!-- The tree is generated: python docs/generate.py -->", "<!-- end of the tree -->")
# In the order in which data pass through; a folder that is not named here comes last.
ORDER = (
    "pipelines", "skeletons", "reading", "formats", "cleaning", "datasets", "workers", "prepared",
    "synthetic", "shards", "tsgc", "data", "input", "network", "field", "second", "kernels", "step",
    "fine_tuning", "training", "tracking",
    "distributed", "evaluation", "fusion", "inference", "export", "inspect", "drawing", "report",
    "sections", "explain", "workspace", "bench", "commands",
)  # fmt: skip
# What is no package, and so has no sentence of its own.
BESIDE = {
    "cli.py": "The command: the Typer app and the list of its commands.",
    "configs": "Recipes, one a data set, and one of others; the defaults are in `tsgc/train_config.py`.",
    "benchmarks": "What measures, tries and searches, with its notes.",
    "docs": "The pages, and the programs that write parts of them.",
    "tests": "What holds all of it to its word, in the same folders; shared parts in `tests/made`.",
}
# Members of a public class that people call; the others are how it works.
METHODS = {
    "Recogniser": ("predict", "logits", "config", "joint_shape"),
    "RunResults": ("epoch",),
    "ShardSet": ("train", "test", "clips", "skeleton", "class_names", "benchmark"),
    "TrainBatches": ("shape", "names", "epoch", "set_epoch", "state_dict", "load_state_dict", "close"),
    "RawClips": ("names", "labels", "frames", "bodies"),
}


def cli_page() -> str:
    """Every command: what it does, its arguments and options, its example."""
    group: Any = typer.main.get_command(cli.app)
    parts = ["# The `tsgc` command", MARK, _clean(group.help), _clean(group.epilog)]
    rows = [
        f"| [`{name}`](#tsgc-{name.replace(' ', '-')}) | {_first(command.help)} |"
        for name, command in _commands(group)
    ]
    parts.append("\n".join(["| command | does |", "|---|---|", *rows]))
    for name, command in _commands(group):
        parts += [f"## tsgc {name}", _clean(command.help), _parameters(command)]
        parts.append(f"```console\n$ {command.epilog.removeprefix('Example: ')}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _commands(group: Any) -> list[tuple[str, Any]]:
    """The commands in their order; of a group its own, and the group itself where it does something."""
    found = []
    for name, command in group.commands.items():
        inner = getattr(command, "commands", {})
        if not inner or command.invoke_without_command:
            found.append((name, command))
        found += [(f"{name} {sub}", one) for sub, one in inner.items()]
    return found


def _parameters(command: Any) -> str:
    rows = []
    for parameter in command.params:
        is_argument = parameter.param_type_name == "argument"
        words = ", ".join(f"`{word}`" for word in (*parameter.opts, *parameter.secondary_opts))
        name = f"`{parameter.name.upper()}`" if is_argument else words
        said = _clean(parameter.help).replace("|", "\\|")
        rows.append(f"| {name} | {said}{_default(parameter)} |")
    return "\n".join(["| | |", "|---|---|", *rows]) if rows else ""


def _default(parameter: Any) -> str:
    """A default that the help text does not name yet; and where the environment may set it."""
    value = parameter.default
    shown = "" if value in (None, False, (), []) or callable(value) else f" [default: {value}]"
    said = "" if re.search(r"[\[(]default", parameter.help or "") else shown
    return said + (f" [environment: {parameter.envvar}]" if getattr(parameter, "envvar", None) else "")


def api_page(handwritten: str) -> str:
    """The guide that is written by hand, and the public names with their docstrings after it."""
    parts = [handwritten.partition(MARK)[0].rstrip(), MARK, "## Reference"]
    for package in (tsgc, data):
        for name in package.__all__:
            parts.append(_member(f"{package.__name__}.{name}", getattr(package, name)))
            for method in METHODS.get(name, ()):
                found = inspect.getattr_static(getattr(package, name), method)
                parts.append(_member(f"{name}.{method}", found))
    return "\n\n".join(parts) + "\n"


def contributing_page(text: str) -> str:
    """The page with its tree: every folder with the sentence of its `__init__.py`."""
    start, end = TREE
    head, _, rest = text.partition(start)
    tail = rest.partition(end)[2]
    rows = []
    for top in ("pipelines", "shards", "tsgc"):
        folder = ROOT / top
        rows.append((f"{top}/", _sentence(folder)))
        inner = [path.parent for path in folder.glob("*/__init__.py")]
        for path in sorted(inner, key=_place):
            rows.append((f"  {path.name}/", _sentence(path)))
            rows += [(f"    {one.parent.name}/", _sentence(one.parent)) for one in path.glob("*/__init__.py")]
    rows += [(name if "." in name else f"{name}/", said) for name, said in BESIDE.items()]
    tree = "\n".join(f"{name:<16}{said}" for name, said in rows)
    return f"{head}{start}\n\n```text\n{tree}\n```\n\n{end}{tail}"


def _sentence(package: Path) -> str:
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


def _place(folder: Path) -> tuple[int, str]:
    return (ORDER.index(folder.name) if folder.name in ORDER else len(ORDER)), folder.name


def _member(name: str, thing: Any) -> str:
    """A class with its fields, a function with its signature, a property: each with its docstring."""
    title = f"### `{name}`\n\n"
    if isinstance(thing, property):
        return title + _doc(thing.fget)
    if not inspect.isclass(thing):
        return f"{title}```text\n{_signature(thing)}\n```\n\n{_doc(thing)}"
    if not is_dataclass(thing):
        return title + _doc(thing)
    return title + "\n".join([_doc(thing), "", "| field | type | |", "|---|---|---|", *_fields(thing)])


def _fields(thing: Any) -> list[str]:
    """A row for each field: as it is annotated, and what the text below it says."""
    body = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0].body  # type: ignore[attr-defined]
    rows = []
    for node, after in zip(body, [*body[1:], None]):
        if isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_"):
            described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            said = _clean(after.value.value) if described else ""
            rows.append(f"| `{ast.unparse(node.target)}` | `{ast.unparse(node.annotation)}` | {said} |")
    return rows


def _signature(function: Any) -> str:
    """The signature as it is written: what `inspect` makes of annotations depends on Python's version."""
    source = textwrap.dedent(inspect.getsource(function))
    node = ast.parse(source).body[0]
    lines = source.splitlines()[node.lineno - 1 : node.body[0].lineno - 1]  # type: ignore[attr-defined]
    return "\n".join(lines).rstrip(":")


def _doc(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__ or "")


def _clean(text: str | None) -> str:
    """Help text as one paragraph a paragraph."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text or ""))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _first(text: str | None) -> str:
    return _clean(text).split("\n\n")[0]


def pages() -> dict[Path, str]:
    """Path -> what it has to hold."""
    guide = ROOT / "docs/api.md"
    house = ROOT / "docs/contributing.md"
    return {
        ROOT / "docs/cli.md": cli_page(),
        guide: api_page(guide.read_text()),
        house: contributing_page(house.read_text()),
    }


def main() -> int:
    stale = [path for path, text in pages().items() if not path.is_file() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)}: not as the code has it; run python docs/generate.py")
        return 1 if stale else 0
    for path, text in pages().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
