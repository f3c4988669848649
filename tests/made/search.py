"""The search's scripts in the tests' own process."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import search_nw_ucla

import cli

ROOT = Path(cli.__file__).parent


COUNTS = {"1to2": 516, "2to1": 504}


SMALL = {
    "variant": "tiny", "frames": 16, "precision": "float32", "batch": 16, "mix_group": 16, "repeats": 1,
}  # fmt: skip


def search(*words, expect=0):
    return script(search_nw_ucla, *words, expect=expect)


def script(module, *words, expect=0):
    """A script's `main`, in this process, which has torch loaded; returns what it printed, errors too."""
    said, code = io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setattr(sys, "argv", [module.__file__, *map(str, words)])
        try:
            module.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1  # a message: as the interpreter ends with it
            print(end.code)
    assert code == expect, said.getvalue()
    return said.getvalue()
