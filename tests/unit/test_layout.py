"""Tests mirror the tree, and share what they share through tests/support and fixtures."""

import ast
from collections import defaultdict

from tests.support.tree import ROOT, files, nodes

TESTS = ROOT / "tests"
SAME_KIND = {"model", "hub"}
"""Fixtures that several modules have, each of the same type."""


def test_unit_tests_mirror_the_package() -> None:
    homes = [ROOT / "src" / "vllm_worker", ROOT]
    about_the_tree = {"test_architecture.py", "test_layout.py", "test_words.py", "test_habits.py"}
    of_no_module = {"test_odd_values.py", "test_runpod_sdk.py", "test_image.py", "test_docs.py"}
    for test in (TESTS / "unit").rglob("test_*.py"):
        if test.name in about_the_tree | of_no_module:
            continue
        module = test.relative_to(TESTS / "unit").with_name(test.name.removeprefix("test_"))
        assert any((home / module).exists() for home in homes), f"{test} tests no module"


def test_nothing_is_imported_from_a_conftest_or_a_test() -> None:
    for path in files("tests/**/*.py"):
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                for name in names:
                    last = name.rpartition(".")[2]
                    is_test = name.startswith("tests.") and last.startswith("test_")
                    assert last != "conftest", f"{path}:{node.lineno}"
                    assert not is_test, f"{path}:{node.lineno}"


def test_a_fixture_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for path in files("tests/**/*.py"):
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
                "fixture" in ast.unparse(decorator) for decorator in node.decorator_list
            ):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not {name: where for name, where in twice.items() if name not in SAME_KIND}
