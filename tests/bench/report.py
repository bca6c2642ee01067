# SPDX-License-Identifier: Apache-2.0
"""What was measured, as a table and as a plot: results.json -> results.md, results.svg.

    python3 tests/bench/report.py DIRECTORY      again, from its results.json
"""

import json
import math
import sys
from html import escape
from pathlib import Path

NAMES = {"rollcall": "Rollcall", "stock": "stock epmd", "bare": "bare server"}


def median(figures):
    return sorted(figures)[len(figures) // 2]


def ratios(result, name):
    """To the bare server, round by round."""
    return [nsec / bare for nsec, bare in zip(result["nsec"][name], result["nsec"]["bare"])]


def digits(figure):
    return f"{figure:.0f}" if figure >= 20 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def format_range(figures):
    return f"{digits(median(figures))} ({digits(min(figures))}-{digits(max(figures))})"


def format_ratio(result, name):
    return format_range(ratios(result, name)) if name in result["nsec"] else "-"


def format_usec(result, name):
    usec = [nsec / 1000 for nsec in result["nsec"][name]]
    return digits(median(usec))


def n_calls(result, name):
    """Whole ones: what is left over is the server's own doing, a look at its file each second."""
    calls = result["calls"].get(name)
    return sum(round(count) for count in calls.values()) if calls else None


def format_calls(result, name):
    n = n_calls(result, name)
    return f"{n:,}" if n else "-"


def format_start(result):
    """Of CPU time, which on one core is the time it takes where nothing else runs."""
    own, stock = result["start"]["rollcall"], result["start"]["stock"]

    def msec(i):
        return " to ".join(digits(median([figure[i] / 1e6 for figure in figures])) for figures in (own, stock))

    ratio = format_range([ours[1] / theirs[1] for ours, theirs in zip(own, stock)])
    return f"{ratio} times stock epmd's start, which has nothing to read: {msec(1)} ms of CPU, {msec(0)} ms on the clock"


def format_bytes(result):
    return f"{result['bytes']['rollcall']:.0f} bytes of the process, beside what the kernel has"


def find_beside_lookup(results):
    """Of Rollcall's own, with as many names."""
    by_key = {result["key"]: result for result in results}
    lookup = next((by_key[key] for key in reversed(by_key) if key.startswith("lookup-")), None)
    if lookup and "find" in by_key:
        ratios = [a / b for a, b in zip(by_key["find"]["nsec"]["rollcall"], lookup["nsec"]["rollcall"])]
        yield f"- {by_key['find']['title']}: {format_range(ratios)} times a lookup (goal: 1.5)"


# --- the table --------------------------------------------------------------------------------------


def table(results):
    lines = [
        "| | goal | Rollcall | stock epmd | bare server | calls: Rollcall | stock | bare |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        if "nsec" not in result:
            continue
        cells = [result["title"], str(result["goal"] or "-"), f"**{format_ratio(result, 'rollcall')}**"]
        cells += [format_ratio(result, "stock"), f"{format_usec(result, 'bare')} us"]
        cells += [format_calls(result, name) for name in ("rollcall", "stock", "bare")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def others(results):
    for result in results:
        if "bytes" in result:
            yield f"- {result['title']}: {format_bytes(result)} (goal: {result['goal']:,})"
        if "start" in result:
            yield f"- {result['title']}: {format_start(result)} (goal: {result['goal']} times)"
        if "clock_nsec" in result:
            clock = median(result["clock_nsec"]["rollcall"]) / 1e9
            yield f"- {result['title']}: all are registered again {clock:.2f} s after the first of them asks"


def markdown(results, facts):
    return f"""# Measured

CPU time per request, as a ratio to the bare server's in the same round: the median of {facts['rounds']} rounds and their
range. The bare server's own is in microseconds. System calls are those of one request when nothing else is going on.

{table(results)}

{chr(10).join([*find_beside_lookup(results), *others(results)])}

{facts['machine']}; {facts['clients']} clients at a time on another core; {facts['date']}.
"""


# --- the plot ---------------------------------------------------------------------------------------

ROW, SHIFT, LEFT, WIDTH, TOP = 26, 4, 440, 560, 56
COLOURS = {"rollcall": "#1f6feb", "stock": "#8c6d31"}
GOAL = "#c00"
TICKS = (0.8, 1, 1.2, 1.5, 2, 3, 5, 10, 20, 50)


def x_of(ratio):
    low, high = math.log(TICKS[0]), math.log(70)
    return LEFT + WIDTH * (math.log(min(max(ratio, TICKS[0]), 70)) - low) / (high - low)


def line(x1, y1, x2, y2, colour, width):
    return f'<line x1="{x1:.1f}" y1="{y1}" x2="{x2:.1f}" y2="{y2}" stroke="{colour}" stroke-width="{width}"/>'


def dot(x, y, colour):
    return f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="{colour}"/>'


def text(x, y, words, anchor="start", colour="#000"):
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def plot_axis(height):
    for tick in TICKS:
        x = x_of(tick)
        yield line(x, TOP - 8, x, height - 8, "#333" if tick == 1 else "#ddd", 1)
        yield text(x, TOP - 12, f"{tick:g}", "middle", "#555")


def plot_row(result, y):
    yield text(LEFT - 12, y + 4, result["title"], "end")
    if result["goal"]:
        x = x_of(result["goal"])
        yield line(x, y - 9, x, y + 9, GOAL, 2)
    for name, colour in COLOURS.items():
        if name not in result["nsec"]:
            continue
        figures = ratios(result, name)
        low, high, middle = x_of(min(figures)), x_of(max(figures)), x_of(median(figures))
        # A little apart, lest one hides the other.
        beside = y - SHIFT if name == "rollcall" else y + SHIFT
        yield line(low, beside, high, beside, colour, 2)
        yield dot(middle, beside, colour)


def svg(results):
    rows = [result for result in results if "nsec" in result]
    height = TOP + ROW * len(rows) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 30}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        text(LEFT, 20, "CPU time per request; 1: a server that only answers"),
        dot(LEFT + 330, 16, COLOURS["rollcall"]), text(LEFT + 340, 20, NAMES["rollcall"]),
        dot(LEFT + 405, 16, COLOURS["stock"]), text(LEFT + 415, 20, NAMES["stock"]),
        line(LEFT + 495, 8, LEFT + 495, 24, GOAL, 2), text(LEFT + 503, 20, "goal"),
        *plot_axis(height),
    ]
    for i, result in enumerate(rows):
        parts += plot_row(result, TOP + ROW * i + 12)
    return "\n".join([*parts, "</svg>", ""])


def write(directory, results, facts):
    (directory / "results.json").write_text(json.dumps({"facts": facts, "results": results}, indent=1) + "\n")
    (directory / "results.md").write_text(markdown(results, facts))
    (directory / "results.svg").write_text(svg(results))


if __name__ == "__main__":
    again = json.loads((Path(sys.argv[1]) / "results.json").read_text())
    write(Path(sys.argv[1]), again["results"], again["facts"])
