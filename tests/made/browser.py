"""A headless Chromium that opens a page, runs a script in it and tells what the console said."""

import html
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-dev-shm-usage", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=4000",
)  # fmt: skip


@dataclass(frozen=True)
class Visit:
    dom: str
    """The page as the browser has it in the end."""
    console: list[str]
    """What was logged: errors, warnings, everything."""
    said: str
    """What the script wrote to `document.documentElement.dataset.said`."""


def visit(page: Path, script: str = "", width: int = 1280) -> Visit:
    """Open a page; `script` runs after the page's own. Skips the test where there is no browser."""
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(NAMES)} is on PATH: the page is not looked at in a browser")
    opened = page
    with tempfile.TemporaryDirectory() as folder:
        if script:
            opened = Path(folder, "scripted.html")
            opened.write_text(page.read_text().replace("</body>", f"<script>{{{script}}}</script></body>"))
        done = subprocess.run(
            [browser, *FLAGS, f"--user-data-dir={folder}/profile", f"--window-size={width},900", "--dump-dom",
             opened.resolve().as_uri()],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    said = re.search('data-said="([^"]*)"', done.stdout)
    return Visit(
        dom=done.stdout,
        console=[line for line in done.stderr.splitlines() if "CONSOLE" in line],
        said=html.unescape(said[1]) if said else "",
    )
