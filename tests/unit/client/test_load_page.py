"""The page of a load test."""

from vllm_worker.client.load_page import page
from vllm_worker.client.load_test import Sample, figures


def test_the_page_has_each_request_and_needs_nothing_else() -> None:
    samples = [
        Sample(0.0, [0.1, 1.2], seconds=1.5, tokens=4),
        Sample(0.5, seconds=1.0, error="<busy>"),
    ]
    html = page("a <model>", samples, figures(samples))
    assert html.count('class="good"') == 1 + 2  # a first token, and two seconds with tokens
    assert html.count('class="bad"') == 1
    assert "a &lt;model&gt;" in html
    for mark in ("<model>", "<busy>", "http", "src=", "<script"):
        assert mark not in html


def test_an_empty_test_has_a_page() -> None:
    assert "0 tokens/s" not in page("nothing", [], figures([]))
