"""The page in a real browser: nothing blocked, nothing blank, nothing in the way or beyond the window."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from test_html import document, errors

from ppc.backend.html import page

__all__ = ["document", "errors"]

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    f"--{flag}"
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
        "disable-background-networking", "disable-component-update", "hide-scrollbars",
        "enable-logging=stderr",
    )
]  # fmt: skip

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")

MEASURE = """<script>
const right = e => e.getBoundingClientRect().right;
const wide = [...document.querySelectorAll("main *")]
  .filter(e => !e.closest(".scroll") && right(e) > innerWidth + 1);
const over = [...document.querySelectorAll(".scroll")].filter(e => e.scrollWidth > e.clientWidth + 1);
const beyond = document.documentElement.scrollWidth - innerWidth;
parent.document.title = `at ${innerWidth} wide ${wide.length} over ${over.length} beyond ${beyond}`;
</script></body>"""

FRAME = """<!doctype html><title></title><body style="margin:0">
<iframe src="inside.html" style="border:0;width:{width}px;height:2000px"></iframe>"""
"""A browser's own window is no narrower than 500 pixels."""


def browse(folder: Path, text: str, *flags: str) -> subprocess.CompletedProcess[str]:
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    command = [str(BROWSER), *QUIET, f"--user-data-dir={folder / 'profile'}", *flags, path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_it_is_drawn_without_complaint(tmp_path, document, errors):
    shot = tmp_path / "shot.png"
    done = browse(tmp_path, page(document, errors), f"--screenshot={shot}", "--window-size=1400,2000")
    assert "CONSOLE" not in done.stderr
    picture = shot.read_bytes()
    assert struct.unpack(">II", picture[16:24]) == (1400, 2000)
    assert len(picture) > 50_000


@pytest.mark.parametrize("width", [1400, 820, 390])
def test_nothing_leaves_the_window_nor_hides_in_a_table(tmp_path, document, errors, width):
    """Whatever is open: on a phone, too, every column can be seen without scrolling sideways."""
    text = re.sub(r"<meta http-equiv[^>]*>", "", page(document, errors)).replace("</body>", MEASURE)
    (tmp_path / "inside.html").write_text(text.replace("<details>", "<details open>"), encoding="utf-8")
    done = browse(tmp_path, FRAME.format(width=width), "--dump-dom", "--allow-file-access-from-files")
    (found,) = re.findall("<title>(at .*?)</title>", done.stdout)
    assert re.fullmatch(rf"at {width} wide 0 over 0 beyond (0|-\d+)", found), found
