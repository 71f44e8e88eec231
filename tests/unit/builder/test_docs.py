"""What the documentation names exists: links, anchors, files, modules, tests and commands."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tree import ROOT, files, nodes
from tests.support.tree import text as text_of

PACKAGE = ROOT / "src" / "vllm_worker"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = {path.name for path in files("*.py", "[a-z]*/**/*.py")}
TESTS = [path for path in files("tests/**/*.py") if path.name != "test_docs.py"]

RETIRED = {
    r"engine_\w+\.py": "engine/….py",
    r"beside": "besides, next to, in addition to",
    r"anew": "again",
    r"is no use": "is not useful",
    r"constraints?": "structured outputs",
    r"mistakes?": "problem",
}
"""Words of older documents that test_words.py does not list, and what to write instead."""

OF_VLLM = {"Compiling model again"}
"""Messages that vLLM logs."""


def prose(document: Path) -> str:
    """The text without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", text_of(document), flags=re.M | re.S)


def anchors(document: Path) -> set[str]:
    """Those that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def links(document: Path) -> Iterator[str]:
    """The targets of relative links and pictures."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if not re.match(r"[a-z]+:", target):
            yield target


def quoted(document: Path) -> Iterator[str]:
    """What stands in backticks."""
    yield from re.findall(r"`([^`\n]+)`", prose(document))


@pytest.fixture(params=DOCUMENTS, ids=lambda path: path.name)
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_links_lead_somewhere(document: Path) -> None:
    for target in links(document):
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def test_files_that_are_named_exist(document: Path) -> None:
    for text in quoted(document):
        for name in re.findall(r"[\w./-]+\.(?:py|toml|json|yaml|sh)(?![\w/])", text):
            if "/" in name:
                homes = [ROOT, PACKAGE, document.parent]
                assert name.startswith("/") or any((home / name).exists() for home in homes), name
            elif name.endswith(".py"):
                assert name in MODULES, name


def test_folders_that_are_named_exist(document: Path) -> None:
    for text in quoted(document):
        if re.fullmatch(r"(src|tests|builder|benchmarks|docs|configs)(/\w+)*/?", text):
            assert (ROOT / text).exists(), text


def test_modules_that_are_named_exist(document: Path) -> None:
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    for text in quoted(document):
        if re.fullmatch(r"\w+(\.\w+)+", text) and text.split(".")[0] in packages:
            package, module, *_ = text.split(".")
            assert (PACKAGE / package / f"{module}.py").exists(), text


def test_tests_that_are_named_exist(document: Path) -> None:
    written = "\n".join(text_of(path) for path in TESTS)
    for text in quoted(document):
        if re.fullmatch(r"test_\w+", text):
            assert f"def {text}(" in written, text


def test_commands_that_are_named_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    text = "\n".join(
        [*quoted(document), *re.findall(r"```bash\n(.*?)```", text_of(document), re.S)]
    )
    for target in re.findall(r"(?:^|[ `])make ([a-z]+(?:-[a-z]+)*)", text, re.M):
        assert target in targets, f"make {target}"


def test_messages_in_troubleshooting_are_those_of_the_worker() -> None:
    messages = "\n".join(text for path in PACKAGE.rglob("*.py") for text in texts(path))
    rows = re.findall(r"^\| (.*?) \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.M)
    named = [text for row in rows for text in re.findall(r"`([^`]+)`", row) if " " in text]
    assert len(named) > 20
    for text in named:
        for part in re.split(r"[ :]*[…?]:?\s*", text):
            assert part in messages or text in OF_VLLM, part


def texts(path: Path) -> Iterator[str]:
    """The strings of a module, with what is put into them left out."""
    for node in nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%(\.\d+)?[a-z]", "…", node.value)


@pytest.mark.parametrize("pattern", RETIRED)
def test_words_of_older_documents_do_not_come_back(document: Path, pattern: str) -> None:
    lines = [line for line in prose(document).splitlines() if re.search(rf"\b({pattern})\b", line)]
    assert not lines, f"write {RETIRED[pattern]}"


def test_every_document_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for document in (ROOT / "docs").glob("*.md"):
        assert document.name == "README.md" or f"]({document.name})" in index, document.name


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Which GPU for which model", "which-gpu-for-which-model"),
        ("/run and /runsync", "run-and-runsync"),
        ("vLLM's defaults", "vllms-defaults"),
    ],
)
def test_anchors_are_made_as_github_makes_them(tmp_path: Path, heading: str, anchor: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n```bash\n# not a heading\n```\n\n## {heading}\n")
    assert anchors(page) == {"title", anchor}
