"""Code of one's own network is run where the user names it, and never because a file or folder is opened."""

import hashlib
import importlib.metadata
import sys

import pytest
from made.own_networks import PLAIN, write_network

from pipelines.errors import TsgcError
from tsgc.network.own import code as own_code
from tsgc.network.own.code import admit, find_code
from tsgc.networks import mistaken_network, network_title, recorded_name, short_name


@pytest.fixture(autouse=True)
def nothing_admitted(monkeypatch):
    """What one test names, the next does not know."""
    monkeypatch.setattr(own_code, "_admitted", [])
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize(
    ("given", "recorded", "short"),
    [
        ("my.py:Net", "my.py:Net", "my.Net"),
        ("a/b c/my.py:Net", "my.py:Net", "my.Net"),
        (r"C:\work\my.py:Net", "my.py:Net", "my.Net"),
        ("package.module:Net", "package.module:Net", "package.module.Net"),
        ("ctrgcn", "ctrgcn", "ctrgcn"),
        ("stgcn++", "stgcn++", "stgcn++"),
    ],
)
def test_a_network_is_recorded_without_its_folder(given, recorded, short):
    assert mistaken_network(given) == ""
    assert (recorded_name(given), short_name(given)) == (recorded, short)


@pytest.mark.parametrize(
    "name", ["", "ctr-gcn", "my.py", "my.py:", ":Net", "my.py:Net()", "a b:Net", "../x:Net"]
)
def test_what_is_no_network_is_refused(name):
    assert mistaken_network(name).startswith("one of tsgcnext, tsgcnext2, ctrgcn, stgcn++, or your own")


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("ctr-gcn", "ctrgcn"), ("CTRGCN", "ctrgcn"), ("CTR-GCN", "ctrgcn"), ("stgcnpp", "stgcn++"),
        ("ST-GCN++", "stgcn++"), ("TSGCNeXt", "tsgcnext"), ("tsgcnext-2", "tsgcnext2"), ("resnet", ""),
    ],
)  # fmt: skip
def test_a_near_word_is_named(given, near):
    expected = f"NAME; did you mean {near}?" if near else "package.module:NAME"
    assert mistaken_network(given).endswith(expected)
    with pytest.raises(TsgcError) as found:
        admit(given)
    assert str(found.value).endswith(expected)


def test_titles_are_those_of_papers():
    assert network_title("ctrgcn") == "CTR-GCN" and network_title("my.py:Net") == "my.Net"


def test_a_file_that_is_named_is_found_by_its_name_and_digest(tmp_path):
    given = write_network(tmp_path)
    admit(given)
    digest = hashlib.sha256(PLAIN.encode()).hexdigest()
    for wanted in ("", digest):
        code = find_code("my.py:Net", wanted, "a file")
        assert code.make.__name__ == "Net" and code.digest == digest and code.source == PLAIN.encode()
    admit(["tsgcnext", "ctrgcn"])  # words of the table are nothing to run


def test_the_same_code_under_another_name_is_found_by_its_digest(tmp_path):
    admit(write_network(tmp_path, name="copy.py"))
    assert find_code("my.py:Net", hashlib.sha256(PLAIN.encode()).hexdigest(), "a file").name == "copy.py:Net"


def test_two_versions_of_a_file_are_two_networks(tmp_path):
    other = PLAIN.replace("width=8", "width=9")
    admit([write_network(tmp_path / "old"), write_network(tmp_path / "new", other)])
    for source in (PLAIN, other):
        digest = hashlib.sha256(source.encode()).hexdigest()
        assert find_code("my.py:Net", digest, "a file").source == source.encode()


def test_code_that_nobody_named_or_that_has_changed_is_refused_in_one_line(tmp_path):
    with pytest.raises(
        TsgcError, match=r"^last.json: its network is my.py:Net, code of your own.* --network"
    ):
        find_code("my.py:Net", "0" * 64, "last.json")
    with pytest.raises(TsgcError, match=r"no\.such\.package:Net, code of your own"):
        find_code("no.such.package:Net", "0" * 64, "last.json")
    admit(write_network(tmp_path))
    with pytest.raises(
        TsgcError, match=r"trained with my.py:Net of sha256 000000000000, .* has changed since"
    ):
        find_code("my.py:Net", "0" * 64, "last.json")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, r"my.py: no such file; expected a Python file"),
        ("def f(:", r"SyntaxError: .*\(my.py, line 1\)"),
        (
            "import no_such_module_here",
            r"ModuleNotFoundError: No module named 'no_such_module_here' \(my.py, line 1\)",
        ),
        ("\n\nraise ValueError('not today')", r"ValueError: not today \(my.py, line 3\)"),
        ("import sys\nsys.exit('not a library')", r"SystemExit: not a library \(my.py, line 2\)"),
        ("from .parts import WIDTH", r"relative import .*\(my.py, line 1\); give it as package.module:NAME"),
        ("class Other: pass", r"no Net in it; it defines Other"),
        ("class Other: pass\nclass Nett: pass", r"no Net in it; did you mean Nett\?$"),
        ("Net = 3", r"not callable; it defines nothing"),
    ],
)
def test_a_file_that_is_no_network_is_one_line(tmp_path, source, expected):
    given = f"{tmp_path}/my.py:Net" if source is None else write_network(tmp_path, source)
    with pytest.raises(TsgcError, match=expected) as found:
        admit(given)
        assert find_code("my.py:Net", "", "").make
    assert "\n" not in str(found.value)


def test_a_file_is_run_when_its_digest_has_been_compared(tmp_path):
    """One that is named, and is not what the run was trained with, is refused unrun."""
    ran = tmp_path / "ran"
    admit(write_network(tmp_path, f"open({str(ran)!r}, 'w')\n" + PLAIN))
    with pytest.raises(TsgcError, match="has changed since"):
        find_code("my.py:Net", hashlib.sha256(PLAIN.encode()).hexdigest(), "last.json")
    assert not ran.exists()
    assert find_code("my.py:Net", "", "the settings").make.__name__ == "Net" and ran.exists()


def test_what_lies_beside_the_file_can_be_imported(tmp_path):
    (tmp_path / "parts_of_mine.py").write_text("WIDTH = 5\n")
    admit(write_network(tmp_path, "from parts_of_mine import WIDTH\nclass Net: width = WIDTH\n"))
    assert find_code("my.py:Net", "", "").make.width == 5
    sys.modules.pop("parts_of_mine")


def test_what_a_file_imports_from_its_folder_is_part_of_it(tmp_path):
    """And is compared before anything is run; of its folder alone, whoever else imported what."""
    write_network(tmp_path, "WIDTH = 5\n", "parts_of_mine.py")
    write_network(tmp_path / "more_of_mine", "", "__init__.py")
    write_network(tmp_path / "more_of_mine", "import wave\nDEPTH = 2\n", "depth.py")
    source = "import tabnanny\nfrom parts_of_mine import WIDTH\nfrom more_of_mine import depth\nNet = print\n"
    admit(write_network(tmp_path, source))
    code = find_code("my.py:Net", "", "")
    assert list(code.beside) == ["more_of_mine/__init__.py", "more_of_mine/depth.py", "parts_of_mine.py"]
    beside = {path: hashlib.sha256(content).hexdigest() for path, content in code.beside.items()}
    assert find_code("my.py:Net", code.digest, "last.json", beside) is code

    ran = tmp_path / "ran"
    write_network(tmp_path, f"WIDTH = 50; open({str(ran)!r}, 'w')\n", "parts_of_mine.py")
    own_code._admitted.clear()
    admit(f"{tmp_path}/my.py:Net")
    expected = (
        r"^last.json: trained with my.py:Net and parts_of_mine.py of .*parts_of_mine.py has changed since"
    )
    with pytest.raises(TsgcError, match=expected):
        find_code("my.py:Net", code.digest, "last.json", beside)
    assert not ran.exists()
    again = find_code("my.py:Net", code.digest, "the settings")
    assert again.make and ran.exists() and b"50" in again.beside["parts_of_mine.py"]  # imported anew

    (tmp_path / "parts_of_mine.py").unlink()
    with pytest.raises(TsgcError, match=r"and parts_of_mine.py beside it, and .* is not there"):
        find_code("my.py:Net", code.digest, "last.json", beside)
    for name in ("parts_of_mine", "more_of_mine", "more_of_mine.depth"):
        sys.modules.pop(name)


def test_of_two_folders_the_one_whose_files_are_the_runs_is_found(tmp_path):
    source = "from parts_of_mine import WIDTH\nclass Net: width = WIDTH\n"
    kept = {}
    for width in (5, 66):
        write_network(tmp_path / str(width), f"WIDTH = {width}\n", "parts_of_mine.py")
        admit(write_network(tmp_path / str(width), source))
        code = find_code("my.py:Net", "", "")
        kept[width] = {path: hashlib.sha256(content).hexdigest() for path, content in code.beside.items()}
    for width, beside in kept.items():
        assert find_code("my.py:Net", code.digest, "last.json", beside).make.width == width
    sys.modules.pop("parts_of_mine")


def test_two_files_have_what_lies_beside_each_of_them(tmp_path):
    source = "from parts_of_mine import WIDTH\nclass Net: width = WIDTH\n"
    for width in (5, 6):
        given = write_network(tmp_path / str(width), f"{source}# {width}\n")
        (tmp_path / str(width) / "parts_of_mine.py").write_text(f"WIDTH = {width}\n")
        admit(given)
        assert find_code("my.py:Net", "", "").make.width == width
    sys.modules.pop("parts_of_mine")


def test_a_module_that_is_nowhere_is_one_line():
    with pytest.raises(TsgcError, match=r"No module named 'nowhere_to_be_found'; install it, .* PYTHONPATH$"):
        admit("nowhere_to_be_found.gru:Net")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one module that marks when it is run, importable; and the mark."""
    name = "nets_of_somebody"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "gru.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Net: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield f"{name}.gru:Net", tmp_path / name / "gru.py", tmp_path / "ran"
    for module in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[module]


def test_a_package_that_is_installed_is_found_where_its_file_is_the_one(package, monkeypatch):
    name, file, ran = package
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    # It can be imported, but nobody has installed it: it may be what lies in a run's folder.
    with pytest.raises(TsgcError, match="which no file may run by itself"):
        find_code(name, digest, "last.json")
    assert not ran.exists()
    installed = {name.split(".")[0]: ["nets"]}
    monkeypatch.setattr(own_code, "packages_distributions", lambda: installed)
    with pytest.raises(TsgcError, match="the installed file has another"):
        find_code(name, "1" * 64, "last.json")
    assert not ran.exists()
    assert find_code(name, digest, "last.json").make.__name__ == "Net"
    assert ran.exists()


def test_torch_is_a_package_that_is_installed():
    """The real table of installed packages is what is asked."""
    assert "torch" in importlib.metadata.packages_distributions()
    assert own_code._installed("torch.nn.modules.rnn:GRU").name == "rnn.py"
    assert own_code._installed("nobody.has.this:GRU") is None
