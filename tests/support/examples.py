"""The examples of the documentation, run as they are printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.worker_process import ROOT

PRINTED_URL = "http://127.0.0.1:8000"
PRINTED_MODEL = "MODEL"
_INTRODUCTION = "Routes, with examples"


def blocks(document: str, title: str) -> list[tuple[str, str]]:
    """(language, code) of the examples under a heading, up to the next heading."""
    text = (ROOT / document).read_text()
    (section,) = re.findall(rf"^#+ {re.escape(title)}\n(.*?)(?=^##|\Z)", text, re.M | re.S)
    return re.findall(r"^```(bash|python)\n(.*?)^```$", section, re.M | re.S)


def run(language: str, code: str, url: str, folder: Path) -> str:
    """What an example prints, run in this folder against this endpoint. Fails if it does."""
    code = code.replace(PRINTED_URL, url)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    if language == "bash":
        command = ["bash", "-euc", code]
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=folder, env=environment
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_section(title: str, url: str, folder: Path, model: str = "demo") -> list[str]:
    """What each example of a section of docs/api.md prints; none may answer with an error."""
    ((_, introduction),) = blocks("docs/api.md", _INTRODUCTION)
    printed = []
    for language, code in blocks("docs/api.md", title):
        code = code.replace(PRINTED_MODEL, model)
        if language == "python":
            code = f"{introduction}\n{code}"
        output = run(language, code, url, folder)
        assert output.strip()
        assert '"error"' not in output
        printed.append(output)
    assert printed
    return printed


def titles() -> set[str]:
    """The sections of examples in docs/api.md."""
    text = (ROOT / "docs/api.md").read_text()
    text = text.partition(f"## {_INTRODUCTION}")[2].partition("\n## ")[0]
    return set(re.findall(r"^### (.+)$", text, re.MULTILINE))
