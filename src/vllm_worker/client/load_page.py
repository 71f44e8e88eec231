"""The picture of a load test: one page that needs nothing else, with both charts as SVG."""

from collections.abc import Sequence
from html import escape
from typing import Any

from vllm_worker.client.load_test import Sample

_WIDTH, _HEIGHT, _LEFT, _BELOW = 720, 220, 60, 30
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em;
       color: #222; background: #fff }
svg { width: 100%; height: auto } text { font-size: 12px; fill: currentColor }
td, th { padding: 0 1.5em 0 0; text-align: right } .bad { fill: #c33 } .good { fill: #36c }
line { stroke: #999 }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818 } .good { fill: #7aa2ff } .bad { fill: #f77 } }
"""


def page(title: str, samples: Sequence[Sample], numbers: dict[str, Any]) -> str:
    """HTML with the figures, when each request's first token came, and tokens per second."""
    rows = "".join(
        f"<tr><th>{escape(name)}<td>{escape(str(value))}"
        for name, value in numbers.items()
        if not isinstance(value, dict)
    )
    times = "".join(
        f"<tr><th>{escape(name)}" + "".join(f"<td>{value:,}" for value in values.values())
        for name, values in numbers.items()
        if name.endswith("_ms") and values
    )
    firsts = [(s.began, s.arrivals[0] * 1000) for s in samples if s.arrivals and not s.error]
    failed = [(s.began, 0.0) for s in samples if s.error]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1><table>{rows}</table>"
        f"<h2>Times in ms</h2><table><tr><th><th>p50<th>p90<th>p99{times}</table>"
        f"<h2>First token by when the request was sent</h2>{_chart(firsts, failed, 'ms')}"
        f"<h2>Output</h2>{_chart(_per_second(samples), [], 'tokens/s')}</html>\n"
    )


def _per_second(samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """Tokens in each second; those of a request by when its chunks came."""
    counts: dict[int, float] = {}
    for sample in samples:
        for arrival in sample.arrivals:
            second = int(sample.began + arrival)
            counts[second] = counts.get(second, 0) + sample.tokens / len(sample.arrivals)
    return [(second + 0.5, number) for second, number in sorted(counts.items())]


def _chart(
    good: Sequence[tuple[float, float]], bad: Sequence[tuple[float, float]], unit: str
) -> str:
    points = [*good, *bad]
    most_x = max((x for x, _ in points), default=0) or 1
    most_y = max((y for _, y in points), default=0) or 1

    def dots(of: Sequence[tuple[float, float]], kind: str) -> str:
        return "".join(
            f'<circle class="{kind}" r="3" cx="{_LEFT + x / most_x * _WIDTH:.1f}" '
            f'cy="{_HEIGHT - y / most_y * (_HEIGHT - 10):.1f}"/>'
            for x, y in of
        )

    return (
        f'<svg viewBox="0 0 {_LEFT + _WIDTH + 10} {_HEIGHT + _BELOW}" role="img" '
        f'aria-label="{unit} over time">'
        f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}"/>'
        f'<line x1="{_LEFT}" x2="{_LEFT}" y1="0" y2="{_HEIGHT}"/>'
        f'<text x="0" y="14">{most_y:,.0f} {unit}</text><text x="40" y="{_HEIGHT}">0</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT + 20}">0 s</text>'
        f'<text x="{_LEFT + _WIDTH}" y="{_HEIGHT + 20}" text-anchor="end">{most_x:.1f} s</text>'
        f"{dots(good, 'good')}{dots(bad, 'bad')}</svg>"
    )
