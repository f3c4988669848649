"""The words of the README and the guides are commands that exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer

import cli

ROOT = Path(cli.__file__).parent
PAGES = [
    ROOT / "README.md",
    *sorted(page for place in ("docs", "benchmarks") for page in (ROOT / place).rglob("*.md")),
]
COMMANDS = typer.main.get_command(cli.app).commands


def console_lines(text):
    """The `tsgc ...` command lines in a page's code blocks, fenced or indented, and between backticks."""
    blocks = re.findall(r"```(?:console|sh|bash)\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ tsgc ")]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    indented = re.findall(r"^ {4}(tsgc .*)", prose.replace("\\\n", " "), re.MULTILINE)
    lines += [command.strip() for line in indented for command in line.split("&&")]
    return lines + [found for found in re.findall(r"`([^`]+)`", prose) if found.startswith("tsgc ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_exist(page):
    for line in console_lines(page.read_text()):
        words = shlex.split(" ".join(line.split()), comments=True)[1:]
        words = words[: next((i for i, word in enumerate(words) if word in "|><&&;"), len(words))]
        if not words or words[0].startswith("-") or words[0] in ("COMMAND", "..."):
            continue
        assert words[0] in COMMANDS, line
        command = COMMANDS[words[0]]
        if inner := getattr(command, "commands", None):  # a group, such as bench
            if len(words) == 1:
                continue
            if not (command.invoke_without_command and words[1].startswith("-")):
                assert words[1] in inner, line
                command = inner[words[1]]
        known = {name for parameter in command.params for name in parameter.opts}
        for word in words[1:]:
            word = word.strip("[]")  # [--gpus 2]: with it or without
            if word.startswith("--") and word not in ("--help", "--debug", "--quiet", "--json"):
                assert word.split("=")[0] in known, line


def test_benchmarks_and_their_options_exist():
    """Options by their names in the script, or in the package beside it that it imports: a look, no run."""
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        found += re.findall(
            r"(?:^ {4}|`)python (?:\.\./\.\./|benchmarks/)(\S+\.py)([^`\n#]*)", text, re.MULTILINE
        )
    assert len(found) > 20
    for name, words in found:
        script = ROOT / "benchmarks" / name
        source = script.read_text()
        for package in re.findall(r"^from (nw_ucla)\b", source, re.MULTILINE):
            source += "".join(path.read_text() for path in (script.parent / package).glob("*.py"))
        for option in re.findall(r"--[a-z][a-z-]*", words):
            assert f'"{option}"' in source, f"{name} {words}"
        for file in re.findall(r"benchmarks/\S+\.yaml", words):
            assert (ROOT / file).is_file(), f"{name} {words}"


def test_the_readme_opens_with_the_two_commands():
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert re.findall(r"^\$ (make \w+)", blocks[0], re.MULTILINE) == ["make demo", "make test"]
