"""A check at the end of the tests: no module of the project was left alone by all of them.

Commands import what they need as they need it, so that a module which nothing loaded is one that nothing ran.
"""

import sys
from pathlib import Path

import pytest

import cli

ROOT = Path(cli.__file__).parent
PACKAGES = ("pipelines", "shards", "tsgc")


def every_module() -> set[str]:
    """Names of the project's modules, but for those that only `python -m` runs."""
    files = (path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    files = (file for file in files if file.stem != "__main__")
    return {".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files} | {"cli"}


def loaded_modules() -> set[str]:
    """Those that this process has loaded."""
    return every_module() & sys.modules.keys()


def is_whole(config: pytest.Config) -> bool:
    """Whether this run is of all tests, or of all but the slow ones."""
    options = config.option
    part = options.keyword, options.deselect, options.ignore, options.ignore_glob, options.collectonly
    return (
        config.args == config.getini("testpaths") and options.markexpr in ("", "not slow") and not any(part)
    )
