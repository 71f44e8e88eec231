"""Charts of the last run: `python -m benchmarks.charts` writes benchmarks/results/results.svg."""

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report import RESULTS, Results, load
from benchmarks.systems import CHAT, CHAT_STREAM, NATIVE, SYSTEMS

_COLOURS = {
    "raw": "#bbbbbb",
    "serve": "#8da0cb",
    "proxy": "#fc8d62",
    "ours": "#1b9e77",
    "http": "#66a61e",
}
_STREAMS = (1, 16, 64, 256)


def draw(results: Results) -> None:
    """Four charts in one file."""
    mpl.rcParams["svg.hashsalt"] = "benchmarks"  # the same figures make the same file
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    speed, cpu, first, scale = figure.subplots(2, 2).flat
    _bars(speed, results, "tokens_per_s", 64, (NATIVE, CHAT_STREAM, CHAT))
    speed.set_title("64 jobs at once: tokens/s")
    _bars(cpu, results, "cpu_per_100k", 64, (NATIVE, CHAT_STREAM, CHAT))
    cpu.set_title(
        "64 jobs at once: CPU seconds per 100,000 tokens\n(all but the engine's processes)"
    )
    _bars(first, results, "first_p50", 1, (NATIVE, CHAT_STREAM))
    first.set_title("one job: milliseconds to the first token")
    for system in SYSTEMS:
        values = [results.figures(CHAT_STREAM, n, system).tokens_per_s for n in _STREAMS]
        scale.plot(_STREAMS, values, "o-", color=_COLOURS[system], label=system)
    scale.set_xscale("log", base=2)
    scale.set_xticks(_STREAMS, map(str, _STREAMS))
    scale.set_title("chat streams at once: tokens/s")
    for axes in (speed, cpu, first, scale):
        axes.spines[["top", "right"]].set_visible(False)
    scale.legend(frameon=False)
    figure.savefig(RESULTS.with_suffix(".svg"), metadata={"Date": None})


def _bars(axes: Axes, results: Results, name: str, streams: int, kinds: tuple[str, ...]) -> None:
    width = 0.8 / len(SYSTEMS)
    for index, system in enumerate(SYSTEMS):
        values = [getattr(results.figures(kind, streams, system), name) for kind in kinds]
        places = [number + index * width for number in range(len(kinds))]
        bars = axes.bar(places, values, width, color=_COLOURS[system], label=system)
        axes.bar_label(bars, fmt="%.3g", fontsize=7)
    axes.set_xticks(
        [number + (len(SYSTEMS) - 1) / 2 * width for number in range(len(kinds))], kinds
    )


if __name__ == "__main__":
    draw(load())
