"""The layout: imports run down from floor to floor, in no circle; folders are small and say their purpose."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipelines", "shards", "tsgc", "cli", "benchmarks")

# From base to top, folders and single modules: each imports from its own floor and from those before it.
FLOORS = (
    "pipelines.errors",
    "pipelines.files",
    "pipelines.interrupts",
    "pipelines.names",
    "pipelines.channels",
    "pipelines.skeletons",
    "pipelines.skeleton",
    "pipelines.skeleton_definition",
    "pipelines.spec",
    "pipelines.reading",
    "pipelines.cleaning",
    "pipelines.formats",
    "pipelines.datasets",
    "pipelines.first_look",
    "pipelines.prepared",
    "pipelines.workers",
    "pipelines.synthetic",
    "pipelines.exclude",
    "pipelines.prepare",
    "pipelines",
    "shards",
    "tsgc.distributed",
    "tsgc.tables",
    "tsgc.live",
    "tsgc.console",
    "tsgc.networks",
    "tsgc.modalities",
    "tsgc.setting",
    "tsgc.train_config",
    "tsgc.config",
    "tsgc.kernels",
    "tsgc.network.own",
    "tsgc.network",
    "tsgc.network.field",
    "tsgc.network.second",
    "tsgc.checkpoint",
    "tsgc.workspace",
    "tsgc.input",
    "tsgc.step",
    "tsgc.explain",
    "tsgc.drawing",
    "tsgc.evaluation",
    "tsgc.tracking",
    "tsgc.fine_tuning",
    "tsgc.training",
    "tsgc.data.passes",
    "tsgc.data.place",
    "tsgc.data.batch",
    "tsgc.data.raw_clips",
    "tsgc.data.eval_batches",
    "tsgc.data.train_batches",
    "tsgc.data.shard_set",
    "tsgc.data",  # the public names
    "tsgc.fusion",
    "tsgc.side_by_side",
    "tsgc.inference",
    "tsgc.inspect",
    "tsgc.report.gather",
    "tsgc.report.analysis",
    "tsgc.report.charts",
    "tsgc.report.learned_adjacency",
    "tsgc.report.pairs",
    "tsgc.report.section",
    "tsgc.report.sections",
    "tsgc.report",
    "tsgc.export",
    "tsgc.bench",
    "tsgc.doctor",
    "tsgc.demo",
    "tsgc",  # the public names
    "tsgc.commands",
    "cli",
    "tsgc.__main__",
    "benchmarks.nw_ucla.folds",
    "benchmarks.nw_ucla.data",
    "benchmarks.nw_ucla.ideas",
    "benchmarks.nw_ucla",
    "benchmarks",
)
# Preparing, sharding and verifying start fast, and run where a GPU's driver is not in order.
WITHOUT_TORCH = ("pipelines.prepare", "pipelines.prepared.verify", "shards.writer", "shards.verify")

MOST = 12  # modules in a folder; more are two folders
LARGE = {
    "tsgc/kernels": "one fused operation a file, of one kind",
    "pipelines/formats": "one format of recordings a file",
    "shards": "one mechanism, whose parts are known by the format between them",
    "benchmarks": "programs that stand alone",
}
CODE_IN_INIT = {
    "tsgc": "the public names, imported on first use",
    "tsgc/data": "the public names, imported on first use",
    "tsgc/kernels": "the choice between a fused operation and its plain twin",
    "tsgc/report": "write_report, which is all that the command needs",
}

Graph = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Module -> file, of PACKAGES below `root`; benchmarks are called as in the repository's root."""
    files = [root / f"{name}.py" for name in PACKAGES]
    files += [path for name in PACKAGES for path in (root / name).rglob("*.py")]
    return {_dotted(path.relative_to(root)): path for path in files if path.is_file()}


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imported(module: str, path: Path) -> set[str]:
    """All that a file imports, wherever in it: `a.b` for `import a.b`, `a.b.c` for `from a.b import c`."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.ImportFrom():
                above = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*above, *filter(None, [node.module])])
                names |= {f"{base}.{alias.name}" for alias in node.names}
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                names.add(name)
    return names


def import_graph(files: Mapping[str, Path]) -> Graph:
    """Module -> the modules among `files` that it imports."""
    # benchmarks/ is on the path of its programs, so `benchmarks.loader` is imported as `loader`.
    known = {name.removeprefix("benchmarks."): name for name in files} | {name: name for name in files}
    graph: Graph = {}
    for name, path in files.items():
        found = imported(name, path)
        graph[name] = {known.get(one, known.get(one.rpartition(".")[0], "")) for one in found} - {name, ""}
    return graph


def reached(graph: Graph, start: str) -> set[str]:
    """`start` and all that it imports, directly or through others."""
    seen, left = {start}, [start]
    while left:
        new = graph[left.pop()] - seen
        seen |= new
        left += new
    return seen


def imports_torch(name: str, path: Path) -> bool:
    return any(one.partition(".")[0] == "torch" for one in imported(name, path))


def circle(graph: Graph) -> list[str]:
    """The modules of a circle, the first repeated at the end; empty: there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def floor(module: str, floors: tuple[str, ...]) -> int:
    """The number of a module's floor: its own, or its folder's. Raises LookupError."""
    for name in (module, module.rpartition(".")[0]):
        if name in floors:
            return floors.index(name)
    raise LookupError(f"{module} is on no floor: add it, or its folder, to FLOORS above what it imports")


def imports_upwards(graph: Graph, floors: tuple[str, ...]) -> Iterator[str]:
    for module, found in sorted(graph.items()):
        for other in sorted(found):
            if floor(other, floors) > floor(module, floors):
                yield f"{module} imports {other}, of a higher floor of FLOORS"


def folders(files: Mapping[str, Path]) -> dict[Path, list[Path]]:
    """Folder -> its modules, without `__init__.py`."""
    inside: dict[Path, list[Path]] = {}
    for path in files.values():
        inside.setdefault(path.parent, [])
        if path.name != "__init__.py":
            inside[path.parent].append(path)
    return inside


def is_one_sentence(path: Path) -> bool:
    """Whether a file holds a docstring of one sentence, and nothing else."""
    tree = ast.parse(path.read_text("utf-8"))
    text = " ".join((ast.get_docstring(tree) or "").split())
    return len(tree.body) == 1 and text.endswith(".") and ". " not in text


FILES = modules(ROOT)
GRAPH = import_graph(FILES)
FOLDERS = {path.relative_to(ROOT).as_posix(): found for path, found in folders(FILES).items() if path != ROOT}


def test_all_modules_are_seen():
    assert {"cli", "tsgc", "shards.loader", "pipelines.prepare", "benchmarks.loader"} <= GRAPH.keys()
    assert "tsgc.commands.data" in GRAPH["cli"]
    assert "tsgc.inference.recogniser" in GRAPH["tsgc"]


def test_no_modules_import_each_other_in_a_circle():
    assert circle(GRAPH) == []


def test_no_import_runs_up():
    assert list(imports_upwards(GRAPH, FLOORS)) == []


@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_holds_something(name):
    assert name in FILES or (ROOT / name.replace(".", "/")).is_dir()


def test_pipelines_imports_no_torch():
    assert [name for name in FILES if name.startswith("pipelines") and imports_torch(name, FILES[name])] == []


@pytest.mark.parametrize("start", WITHOUT_TORCH)
def test_nothing_imports_torch_for(start):
    assert [name for name in sorted(reached(GRAPH, start)) if imports_torch(name, FILES[name])] == []


@pytest.mark.parametrize("folder", sorted(FOLDERS.keys() - LARGE.keys()))
def test_a_folder_has_at_most_a_dozen_modules(folder):
    assert len(FOLDERS[folder]) <= MOST, "two folders would say more"


@pytest.mark.parametrize("folder", sorted(FOLDERS.keys() - CODE_IN_INIT.keys() - {"benchmarks"}))
def test_a_folder_says_its_purpose_in_one_sentence_and_imports_nothing(folder):
    assert is_one_sentence(ROOT / folder / "__init__.py")


@pytest.mark.parametrize("folder", sorted(LARGE.keys() | CODE_IN_INIT.keys()))
def test_exceptions_are_folders(folder):
    assert folder in FOLDERS


def write(root: Path, **files: str) -> dict[str, Path]:
    """The modules of a made tree: `pipelines__a="..."` is `pipelines/a.py`."""
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return modules(root)


@pytest.mark.parametrize(
    "back",
    [
        "import pipelines.a",
        "from pipelines import a",
        "from . import a",
        "from .a import x",
        "def f():\n    from pipelines.a import x",
        "if TYPE_CHECKING:\n    from pipelines.a import x",
        "importlib.import_module('pipelines.a')",
    ],
)
def test_a_circle_is_found_however_it_is_written(tmp_path, back):
    graph = import_graph(write(tmp_path, pipelines__a="from pipelines.b import f", pipelines__b=back))
    assert sorted(set(circle(graph))) == ["pipelines.a", "pipelines.b"]


def test_a_circle_of_benchmarks_is_found(tmp_path):
    graph = import_graph(write(tmp_path, benchmarks__a="import b", benchmarks__b="from a import f"))
    assert sorted(set(circle(graph))) == ["benchmarks.a", "benchmarks.b"]


def test_a_module_of_a_folder_is_not_the_folder(tmp_path):
    files = write(tmp_path, tsgc__report="", tsgc__write="")
    (tmp_path / "tsgc/__init__.py").write_text("from tsgc.report import x")
    files = write(tmp_path, tsgc__write="from tsgc import report")
    assert import_graph(files) == {
        "tsgc": {"tsgc.report"},
        "tsgc.report": set(),
        "tsgc.write": {"tsgc.report"},
    }


def test_an_import_that_runs_up_is_found(tmp_path):
    graph = import_graph(
        write(
            tmp_path,
            pipelines__low__a="def f():\n    import shards.b",
            pipelines__c="",
            shards__b="import pipelines.c",
        )
    )
    floors = ("pipelines.c", "pipelines.low", "shards")
    assert circle(graph) == []
    assert list(imports_upwards(graph, floors)) == [
        "pipelines.low.a imports shards.b, of a higher floor of FLOORS"
    ]
    assert list(imports_upwards(graph, ("pipelines.c", "shards", "pipelines.low"))) == []


def test_a_module_on_no_floor_is_told(tmp_path):
    graph = import_graph(write(tmp_path, pipelines__new__a="import pipelines.b", pipelines__b=""))
    with pytest.raises(LookupError, match="on no floor"):
        list(imports_upwards(graph, ("pipelines.b", "pipelines")))


def test_torch_is_found_behind_other_modules(tmp_path):
    files = write(
        tmp_path, shards__a="import shards.b", shards__b="def f():\n    from torch.nn import x", shards__c=""
    )
    graph = import_graph(files)
    assert [name for name in sorted(reached(graph, "shards.a")) if imports_torch(name, files[name])] == [
        "shards.b"
    ]
    assert reached(graph, "shards.c") == {"shards.c"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('"""Work over processes."""', True),
        ('"""Two. Sentences."""', False),
        ('"""No end"""', False),
        ("", False),
        ('"""Work."""\nimport os', False),
    ],
)
def test_what_one_sentence_is(tmp_path, text, holds):
    (tmp_path / "__init__.py").write_text(text)
    assert is_one_sentence(tmp_path / "__init__.py") is holds


def test_modules_are_counted_by_folder(tmp_path):
    write(tmp_path, pipelines__a="", pipelines__low__b="")
    (tmp_path / "pipelines/low/__init__.py").touch()
    files = modules(tmp_path)
    assert {path.name: len(found) for path, found in folders(files).items()} == {"pipelines": 1, "low": 1}
