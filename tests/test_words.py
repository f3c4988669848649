"""Docstrings begin with a noun or a verb, and sentences use plain words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("cli.py", "pipelines", "shards", "tsgc", "benchmarks")
FILES = sorted(
    file for name in FOLDERS for file in [ROOT / name, *(ROOT / name).rglob("*.py")] if file.is_file()
)
NO_BEGINNING = {"Are", "As", "For", "Has", "Have", "Is", "Its", "Of", "That", "Those", "Told"}
NO_PHRASE = re.compile(r"\bh(?:angs?|ung) on\b|\bat once told\b", re.IGNORECASE)
DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """The line and text of each docstring, those under fields and constants included."""
    for node in ast.walk(ast.parse(source)):
        for statement in node.body if isinstance(node, DEFINITIONS) else ():
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield statement.lineno, text


def faults(source: str) -> list[str]:
    """Lines about docstrings that begin wrongly, and about phrases that have plainer words."""
    begun = [
        f"line {line}: begins with {text.split()[0]!r}: {text.strip().splitlines()[0]}"
        for line, text in docstrings(source)
        if text.split() and text.split()[0].strip(",:;") in NO_BEGINNING
    ]
    phrases = [
        f"line {number}: {found[0]!r}: {line.strip()}"
        for number, line in enumerate(source.splitlines(), 1)
        if (found := NO_PHRASE.search(line))
    ]
    return begun + phrases


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_docstrings_begin_with_a_noun_or_a_verb_and_words_are_plain(file):
    wrong = faults(file.read_text())
    assert not wrong, "\n".join(wrong)


def test_wrong_words_are_found():
    source = '''"""Of nothing."""
class Body:
    joints: int
    """Has the joints."""
    def centre(self):
        """Is told where it is; depends on no unit."""
# What hangs on a joint.
'''
    found = faults(source)
    assert [line.split(":")[0] for line in found] == ["line 1", "line 4", "line 6", "line 7"]
    assert faults('"""The centre of a body, which depends on its joints."""') == []
