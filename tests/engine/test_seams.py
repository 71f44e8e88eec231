"""Seams of vLLM that move: a sentence or a warning, and never a ready worker that fails."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vllm_worker.decoding.parameters import DecodingParams
from vllm_worker.engine import media_connector, vllm_engine, warmup
from vllm_worker.engine.client import WorkerLLM
from vllm_worker.engine.patches import apply as apply_module
from vllm_worker.engine.patches import request_state, seams
from vllm_worker.engine.patches.table import SEAMS, Seam
from vllm_worker.engine.vllm_engine import VLLMEngine
from vllm_worker.errors import BadRequest, ConfigurationError, StartFailure
from vllm_worker.streaming.flow_control import FlowGrade

ENGINE = Path(vllm_engine.__file__).parent
PROBED = [seam for seam in SEAMS if seam.probe]
MOVED_PATCHES = (
    "RequestState", "beam_search", "run_engine_core", "get_mp_context",
    "StructuredOutputManager.grammar_init",
)  # fmt: skip


@pytest.fixture
def unpatched() -> Iterator[None]:
    """vLLM is examined as it is before the worker replaces anything, and again afterwards."""
    request_state.uninstall()
    seams._examine.cache_clear()
    yield
    seams._examine.cache_clear()
    request_state.install()


def replace(monkeypatch: pytest.MonkeyPatch, seam: Seam, by: Any) -> None:
    """Put something else where the installed vLLM has the seam, or nothing."""
    (place,) = (finding.place for finding in seams.examine() if finding.seam == seam)
    seams._examine.cache_clear()
    module, _, attributes = place.partition(":")
    owner, _, attribute = attributes.rpartition(".")
    found: Any = importlib.import_module(module)
    for name in filter(None, owner.split(".")):
        found = getattr(found, name)
    if by is None:
        look_up = seams._look_up
        gone = lambda wanted: (None, "") if wanted == seam else look_up(wanted)  # noqa: E731
        monkeypatch.setattr(seams, "_look_up", gone)
    else:
        monkeypatch.setattr(found, attribute, by)


@pytest.mark.usefixtures("unpatched")
def test_the_installed_vllm_is_as_known() -> None:
    wrong = [finding for finding in seams.examine() if finding.problem and finding.seam.required]
    assert not wrong
    seams.check()


@pytest.mark.usefixtures("unpatched")
@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.name)
def test_a_seam_that_is_gone_is_named(
    seam: Seam, monkeypatch: pytest.MonkeyPatch, worker_log: pytest.LogCaptureFixture
) -> None:
    if not any(finding.place for finding in seams.examine() if finding.seam == seam):
        pytest.skip("the installed vLLM does not have it")
    replace(monkeypatch, seam, None)
    if seam.required:
        with pytest.raises(StartFailure, match=r"works with vLLM .* is gone") as raised:
            seams.check()
        assert "\n" not in str(raised.value)
    else:
        seams.check()
        assert not seams.usable(seam.name)
        if seam.probe:
            assert seam.lost in worker_log.text


@pytest.mark.usefixtures("unpatched")
@pytest.mark.parametrize("seam", PROBED, ids=lambda seam: seam.name)
def test_a_seam_that_is_called_otherwise_is_named(
    seam: Seam, monkeypatch: pytest.MonkeyPatch, worker_log: pytest.LogCaptureFixture
) -> None:
    if not any(finding.place for finding in seams.examine() if finding.seam == seam):
        pytest.skip("the installed vLLM does not have it")

    def another(*, wholly: int, different: int) -> None: ...

    replace(monkeypatch, seam, another)
    if seam.required:
        with pytest.raises(StartFailure, match="works with vLLM"):
            seams.check()
    else:
        seams.check()
        assert seam.lost in worker_log.text


@pytest.mark.usefixtures("unpatched")
@pytest.mark.parametrize(
    ("gone", "grade"),
    [
        ((), FlowGrade.STATE),
        (("RequestState",), FlowGrade.COLLECTOR),
        (("RequestState.from_new_request",), FlowGrade.COLLECTOR),
        (("RequestState", "RequestOutputCollector"), FlowGrade.INTERVAL),
    ],
)
def test_the_grade_of_flow_control_follows_from_what_is_there(
    gone: tuple[str, ...], grade: FlowGrade, monkeypatch: pytest.MonkeyPatch
) -> None:
    usable = seams.usable
    monkeypatch.setattr(seams, "usable", lambda *names: not {*names} & {*gone} and usable(*names))
    assert apply_module.apply("auto", may_fork=False) is grade
    if gone:
        with pytest.raises(ConfigurationError, match="FLOW_CONTROL=state"):
            apply_module.apply("state", may_fork=False)
    assert apply_module.apply("off", may_fork=False) is FlowGrade.OFF


# Seams that are as known, and yet have no effect: the warm-up finds out


@pytest.mark.usefixtures("unpatched")
async def test_a_state_that_vllm_does_not_use_gives_way_to_the_collector(
    engine: VLLMEngine, worker_log: pytest.LogCaptureFixture
) -> None:
    # BufferingState is not in force here, as if vLLM looked the class up elsewhere.
    engine._llm.flow_grade = FlowGrade.STATE
    await engine._warm_up_streams()
    assert engine._llm.flow_grade is FlowGrade.COLLECTOR
    assert "flow control has no effect in grade state" in worker_log.text
    engine._llm.flow_grade = FlowGrade.STATE


async def test_limits_that_are_never_asked_end_the_start(
    engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkerLLM, "_check", lambda *_: None)
    with pytest.raises(StartFailure, match="limits on requests"):
        await engine._warm_up(("generate",))


async def test_a_guard_that_is_never_asked_ends_the_start(
    engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_connector.GuardedConnector, "_is_unnamed", lambda *_: False)
    with pytest.raises(StartFailure, match="guard of media URLs"):
        await engine._warm_up(("generate",))


async def test_prompts_that_cannot_be_rendered_end_the_start(
    engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keywords_only(prompts: Any, *, tok_params: Any) -> None: ...

    monkeypatch.setattr(engine._llm.renderer, "render_cmpl_async", keywords_only)
    with pytest.raises(StartFailure, match=r"native job failed .*positional argument"):
        await engine._warm_up(("generate",))


async def test_a_ping_that_cannot_be_asked_is_a_warning(
    engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch, worker_log: pytest.LogCaptureFixture
) -> None:
    async def gone(self: Any) -> bool:
        raise AttributeError("is_sleeping")

    monkeypatch.setattr(WorkerLLM, "is_sleeping", gone)
    await engine._warm_up(("generate",))
    assert "a hang goes unnoticed" in worker_log.text


async def test_a_beam_search_that_is_never_asked_is_refused_where_it_matters(
    engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch, worker_log: pytest.LogCaptureFixture
) -> None:
    async def not_asked(*_: Any) -> None: ...

    monkeypatch.setattr(warmup, "beam_search", not_asked)
    monkeypatch.setattr(engine._beams, "asked_by_application", None)
    await engine._warm_up(("generate",))
    assert "best_of and early_stopping are refused" in worker_log.text
    decoding = DecodingParams(n=1, best_of=3, use_beam_search=True)
    with pytest.raises(BadRequest, match="best_of is not available"):
        engine._beams.check_application(decoding)


def test_every_name_of_vllm_in_the_engine_is_in_the_table() -> None:
    known = {place.rpartition(":")[2].partition(".")[0] for seam in SEAMS for place in seam.places}
    modules = {place.partition(":")[0].rpartition(".")[2] for s in SEAMS for place in s.places}
    for path in ENGINE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vllm."):
                for alias in node.names:
                    assert alias.name in known | modules, f"{path.name}:{node.lineno} {alias.name}"


def test_few_attributes_of_vllm_are_replaced() -> None:
    replaced = {seam.name for seam in SEAMS if seam.replaced}
    assert replaced == {*MOVED_PATCHES}
    assert all(seam.upstream for seam in SEAMS if seam.replaced)
