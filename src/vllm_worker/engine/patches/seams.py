"""Compare the installed vLLM with the table of seams.

A seam that is not as it was written for is found here, before the engine is built, and not by the
first job that needs it.
"""

import importlib
import logging
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from vllm_worker.configuration.catalogue import vllm_version
from vllm_worker.engine.patches.table import NEWEST, OLDEST, SEAMS, Seam
from vllm_worker.errors import StartFailure

logger = logging.getLogger(__name__)


class Finding(NamedTuple):
    """A seam in the installed vLLM. `problem` is empty if it is as expected."""

    seam: Seam
    place: str = ""
    problem: str = ""

    @property
    def moved(self) -> bool:
        """Whether it is not where the newest release has it."""
        return bool(self.place) and self.place != self.seam.places[0]


def find(name: str) -> Any:
    """The object of a seam, wherever the installed vLLM has it; None for an optional one that is
    nowhere.

    Raises StartFailure for a required one.
    """
    wanted = seam(name)
    found, _ = _look_up(wanted)
    if found is None and wanted.required:
        raise unsupported(f"{name} is not where the worker looks for it ({wanted.use})")
    return found


def seam(name: str) -> Seam:
    """The row of the table."""
    return next(seam for seam in SEAMS if seam.name == name)


def usable(*names: str) -> bool:
    """Whether these seams are there and as the worker was written for."""
    return not any(_examine(seam(name)).problem for name in names)


def examine() -> tuple[Finding, ...]:
    """Every seam of the installed vLLM. Imports vLLM, and starts nothing."""
    return tuple(_examine(seam) for seam in SEAMS)


def check() -> None:
    """Log in one line how the installed vLLM compares, and each thing that is lost in another.

    Raises StartFailure for a required seam that is not as known.
    """
    findings = examine()
    wrong = [finding for finding in findings if finding.problem]
    for finding in wrong:
        if finding.seam.required:
            raise unsupported(f"{finding.seam.name} {finding.problem} ({finding.seam.use})")
    moved = sum(finding.moved for finding in findings)
    as_known = len(findings) - moved - len(wrong)
    version = vllm_version()
    logger.info("vLLM %s: %d seams, %d as known, %d moved", version, len(findings), as_known, moved)
    for lost in dict.fromkeys(finding.seam.lost for finding in wrong if finding.seam.probe):
        names = [finding.seam.name for finding in wrong if finding.seam.lost == lost]
        logger.warning("vLLM %s has another %s: %s", version, " and ".join(names), lost)


def describe() -> Iterator[tuple[str, str, str, str]]:
    """A row for each seam: its name, what it is used for, where it is, and what is different."""
    for wanted, place, problem in examine():
        kind = "replaced" if wanted.replaced else "required" if wanted.required else "optional"
        yield wanted.name, f"{wanted.use} ({kind})", place or "-", problem or "-"


def unsupported(reason: str) -> StartFailure:
    """The sentence for a vLLM that the worker cannot work with."""
    return StartFailure(
        f"this worker works with vLLM {OLDEST} to {NEWEST}, and {vllm_version()} is installed: "
        f"{' '.join(reason.split()).rstrip('.')}. Install one of these versions."
    )


@cache
def _examine(seam: Seam) -> Finding:
    found, place = _look_up(seam)
    if found is None:
        return Finding(seam, problem="is gone")
    return Finding(seam, place, seam.probe(found) if seam.probe else "")


def _look_up(seam: Seam) -> tuple[Any, str]:
    for place in seam.places:
        module, _, attributes = place.partition(":")
        try:
            found = importlib.import_module(module)
            for attribute in attributes.split("."):
                found = getattr(found, attribute)
        except (ImportError, AttributeError):
            continue
        return found, place
    return None, ""
