"""Words that were given up for others do not come back. docs/glossary.md has those in use."""

import re

import pytest

from tests.support.tree import ROOT, files, text

RETIRED = {
    r"pieces?": "chunk",
    r"(take|in)_pieces": "chunks",
    r"pace|Pace": "flow control",
    r"[Bb]atcher": "chunker",
    r"selection|Selection": "decoding parameters",
    r"older_names|OLDER_NAMES": "legacy parameters",
    r"engine_(bodies|numbers|pace|failures|media|adapters|constraints)": "engine/…",
    r"constraint_limits": "structured_output_limits",
    r"SEED_TABLE": "the table of the seed, by what it holds",
    r"PromptScaler|posting\.py|read_ahead": "job loop, results, weights prefetch",
    r"JobTerms|kept_s": "JobPolicy, retention_s",
    r"last_answers|give_up|look_at": "drain, mark_dead, inspect",
}
"""Pattern of a whole word → what to say instead."""

PLACES = ("src/**/*.py", "src/**/*.toml", "tests/**/*.py", "benchmarks/*.py", "docs/*.md", "*.md",
          "handler.py", "Makefile")  # fmt: skip
EXCEPT = ("test_words.py", "CHANGELOG.md")


@pytest.mark.parametrize("pattern", RETIRED)
def test_a_word_that_was_given_up_is_not_used(pattern: str) -> None:
    word = re.compile(rf"(?<![A-Za-z])({pattern})(?![A-Za-z_])")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in files(*PLACES)
        if path.name not in EXCEPT and word.search(text(path))
        for number, line in enumerate(text(path).splitlines(), start=1)
        if word.search(line)
    ]
    assert not found, f"say {RETIRED[pattern]}:\n" + "\n".join(found)


def test_the_pattern_of_a_word_finds_it() -> None:
    assert re.search(rf"(?<![A-Za-z])({next(iter(RETIRED))})(?![A-Za-z_])", "in pieces, as before")
