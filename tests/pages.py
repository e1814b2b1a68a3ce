"""Reading Markdown as a reader does: its code blocks, its links."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    title: str  #: the file that it is, or ""
    text: str


def text_of(page: str) -> str:
    """A page, by its path in the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(*found) for found in re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', text_of(page), re.MULTILINE | re.DOTALL)]


def broken_links(page: str) -> list[str]:
    """Links of a page to files of the repository, or to headings in them, that lead nowhere."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            found.append(link)
    return found


def _anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def run(command: list[str], folder: Path) -> str:
    """What a command prints, run in a folder with the commands of this environment; a failure is an error that shows everything."""
    here = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **here}, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_page(page: str, folder: Path) -> str:
    """Do what a page says: write its files, run its commands in order, then its other Python blocks as one program; what that prints."""
    program = ""
    for block in blocks(page):
        if block.title:
            file = folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            run(["bash", "-euo", "pipefail", "-c", block.text], folder)
        elif block.language == "python":
            program += block.text
    return run([sys.executable, "-c", program], folder) if program else ""
