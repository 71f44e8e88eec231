"""What a worker says of itself."""

from vllm_worker.observability.self_report import SelfReport
from vllm_worker.observability.timeline import Timeline


def test_the_start_is_told_as_far_as_it_is() -> None:
    clock = iter([101.0, 103.5, 104.0]).__next__
    start = Timeline(100.0, clock)
    report = SelfReport({"SEED": {"value": "0", "origin": "default"}}, {"vllm": "1"}, start)
    calls = []
    start.tell(lambda: calls.append(start.parts))
    start.end("imports")
    start.end("engine")
    view = report.view()
    assert view["parts"] == {"imports": 1.0, "engine": 2.5}
    assert (view["ready"], view["current_s"]) == (False, 0.5)
    assert view["configuration"]["SEED"]["value"] == "0"
    assert view["versions"] == {"vllm": "1"}
    assert "# HELP" in view["metrics"]
    assert calls == [{"imports": 1.0}, {"imports": 1.0, "engine": 2.5}]
    start.log()
    assert (report.view()["ready"], report.view()["current_s"]) == (True, 0.0)
