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
    "--disable-dev-shm-usage", "--enable-logging=stderr", "--v=0",
)  # fmt: skip

NARROWEST = 500  # pixels, of a window
FRAME = """<!DOCTYPE html><body><script>
addEventListener("message", (event) => Object.assign(document.documentElement.dataset, event.data));
</script><iframe src="{page}" style="border: 0; width: {width}px; height: 900px"></iframe></body>"""
TELL_THE_WINDOW = """
;setInterval(() => {
  const whole = document.documentElement;
  parent.postMessage({said: whole.dataset.said || "", dom: whole.outerHTML}, "*");
}, 1000);
"""
# The page's own seconds until it is looked at. On a busy machine they may be over before it is loaded.
BUDGETS = (4, 20)


@dataclass(frozen=True)
class Visit:
    dom: str
    """The page as the browser has it in the end."""
    console: list[str]
    """What was logged: errors, warnings, everything."""
    said: str
    """What the script wrote to `document.documentElement.dataset.said`."""


def visit(page: Path, script: str = "", width: int = 1280) -> Visit:
    """Open a page; `script` runs after the page's own. Skips the test where there is no browser.

    A window is no narrower than 500 pixels, so that a page of a phone's width is seen in a frame of it.
    Where the script has not said a thing that it is to say, the page is given more time.
    """
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(NAMES)} is on PATH: the page is not looked at in a browser")
    with tempfile.TemporaryDirectory() as folder:
        opened = prepared(page, script, width, Path(folder))
        for seconds in BUDGETS:
            done = subprocess.run(
                [browser, *FLAGS, f"--user-data-dir={folder}/profile", f"--virtual-time-budget={seconds}000",
                 f"--window-size={max(width, NARROWEST)},900", "--dump-dom", opened.resolve().as_uri()],
                capture_output=True, text=True, timeout=300, check=True,
            )  # fmt: skip
            seen = read(done)
            if seen.said or "dataset.said" not in script:
                break
    return seen


def prepared(page: Path, script: str, width: int, folder: Path) -> Path:
    """The page to open: with the script, and where it is narrow in a frame that tells of it."""
    narrow = width < NARROWEST
    if narrow:
        script += TELL_THE_WINDOW
    if script:
        scripted = folder / "scripted.html"
        scripted.write_text(page.read_text().replace("</body>", f"<script>{{{script}}}</script></body>"))
        page = scripted
    if narrow:
        framed = folder / "framed.html"
        framed.write_text(FRAME.format(page=page.resolve().as_uri(), width=width))
        page = framed
    return page


def read(done: subprocess.CompletedProcess[str]) -> Visit:
    """What the browser printed: the page, or the message of the page in its frame."""
    said = re.search('data-said="([^"]*)"', done.stdout)
    inside = re.search('data-dom="([^"]*)"', done.stdout)
    return Visit(
        dom=html.unescape(inside[1]) if inside else done.stdout,
        console=[line for line in done.stderr.splitlines() if "CONSOLE" in line],
        said=html.unescape(said[1]) if said else "",
    )
