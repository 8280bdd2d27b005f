"""The chart: what a call costs everybody.

The scale is logarithmic, since the values lie far apart; so there are dots, no bars, whose lengths
would mean nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape

WIDTH, ROW, TOP = 860, 24, 56
LABEL, VALUE = 230, 80
"""Room left of the dots, and right of them."""
FONT = "font-family='system-ui, sans-serif' font-size='13'"
OURS, OTHERS, LINES = "#0b7a75", "#a9b4c2", "#dfe4ea"


def ticks(least: float, most: float) -> list[float]:
    """Powers of ten, and their doubles and fives, that embrace the values."""
    every = [
        step * 10.0**power
        for power in range(math.floor(math.log10(least)) - 1, math.ceil(math.log10(most)) + 1)
        for step in (1, 2, 5)
    ]
    below = max(one for one in every if one < least)
    above = min((one for one in every if one >= most), default=every[-1])
    return [one for one in every if below <= one <= above]


def told(value: float) -> str:
    """Without decimals where there is no need of them."""
    return f"{value:,.0f}".replace(",", " ") if value >= 1 else f"{value:.2g}"


def svg(title: str, values: Mapping[str, float], ours: str) -> str:
    """A chart.

    Args:
        title: Above it.
        values: Of everybody, all above 0.
        ours: What the names begin with that are drawn in colour.
    """
    return "\n".join(_parts(title, values, ours)) + "\n"


def _parts(title: str, values: Mapping[str, float], ours: str) -> Iterator[str]:
    scale = ticks(min(values.values()), max(values.values()))
    room = WIDTH - LABEL - VALUE
    whole = math.log10(scale[-1] / scale[0])
    height = TOP + ROW * len(values) + 12

    def place(value: float) -> float:
        return LABEL + room * math.log10(value / scale[0]) / whole

    yield f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' {FONT}>"
    # Pages may be dark, and a picture on one does not know.
    yield "<rect width='100%' height='100%' rx='6' fill='#fff'/>"
    yield f"<text x='16' y='22' font-weight='600'>{escape(title)}</text>"
    for one in scale:
        yield (
            f"<line x1='{place(one):.1f}' x2='{place(one):.1f}' y1='{TOP - 4}'"
            f" y2='{height - 10}' stroke='{LINES}'/>"
            f"<text x='{place(one):.1f}' y='{TOP - 10}' text-anchor='middle' font-size='11'"
            f" fill='#667'>{told(one)}</text>"
        )
    for row, (name, value) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        top = TOP + ROW * row
        colour = OURS if name.startswith(ours) else OTHERS
        yield (
            f"<text x='{LABEL - 10}' y='{top + 15}' text-anchor='end'>{escape(name)}</text>"
            f"<circle cx='{place(value):.1f}' cy='{top + 11}' r='6' fill='{colour}'/>"
            f"<text x='{place(value) + 12:.1f}' y='{top + 15}'>{told(value)}</text>"
        )
    yield "</svg>"
