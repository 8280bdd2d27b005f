"""Curves over a campaign, and bars, as SVG pictures that need nothing but a browser."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from html import escape

import attrs
from results import number

WIDTH, HEIGHT, GAP = 720, 150, 70
LEFT, RIGHT, TOP = 70, 20, 50
NAMES, ROW = 170, 26
INK, FAINT, LINE = "#24292f", "#d0d7de", "#0969da"


@attrs.frozen
class Curve:
    """Values along the way, each for a stretch that ends at a place."""

    title: str
    values: Sequence[float]


@attrs.frozen
class Bar:
    """One peer's values, round by round."""

    name: str
    values: Sequence[float]
    is_ours: bool = False


def bar_chart(title: str, note: str, bars: Sequence[Bar]) -> str:
    """Draw a bar for each median, with a line from the least to the most.

    Args:
        title: Of the picture.
        note: Said below it.
        bars: From above.
    """
    most = max(max(bar.values) for bar in bars)
    width, height = NAMES + WIDTH + RIGHT, TOP + len(bars) * ROW + 30
    parts = [*_begun(width, height), _text(10, 24, title, size=15)]
    for row, bar in enumerate(bars):
        middle = TOP + row * ROW + ROW / 2
        median, fill = statistics.median(bar.values), f'fill="{LINE if bar.is_ours else FAINT}"'
        least, longest, length = (
            value / most * (WIDTH - NAMES) for value in (min(bar.values), max(bar.values), median)
        )
        parts += [
            _text(NAMES - 8, middle + 4, bar.name, "end"),
            f'<rect x="{NAMES}" y="{middle - 8:.1f}" width="{length:.1f}" height="16" {fill}/>',
            f'<path d="M{NAMES + least:.1f} {middle:.1f}H{NAMES + longest:.1f}" stroke="{INK}"/>',
            _text(NAMES + longest + 8, middle + 4, f"{number(median)} x"),
        ]
    parts.append(_text(10, height - 10, note, size=11))
    return "\n".join([*parts, "</svg>\n"])


def _begun(width: int, height: int) -> list[str]:
    style = f'font-family="sans-serif" font-size="12" fill="{INK}"'
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {style}>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]


def picture(title: str, places: Sequence[float], curves: Sequence[Curve], unit: str) -> str:
    """Curves below each other, all from 0: what is flat looks flat.

    Args:
        title: Of the picture.
        places: Where each stretch ends; the same for all curves.
        curves: What to draw.
        unit: What places are counted in.
    """
    width, height = LEFT + WIDTH + RIGHT, TOP + len(curves) * (HEIGHT + GAP)
    parts = [*_begun(width, height), _text(LEFT, 20, title, size=15)]
    for row, curve in enumerate(curves):
        top = TOP + row * (HEIGHT + GAP)
        parts += _panel(curve, places, top)
        parts.append(_text(LEFT, top + HEIGHT + 18, "0"))
        parts.append(_text(LEFT + WIDTH, top + HEIGHT + 18, f"{number(places[-1])} {unit}", "end"))
    return "\n".join([*parts, "</svg>\n"])


def _panel(curve: Curve, places: Sequence[float], top: int) -> Iterator[str]:
    most = max(curve.values) * 1.1 or 1.0
    bottom = top + HEIGHT
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * HEIGHT
        yield f'<path d="M{LEFT} {y:.1f}h{WIDTH}" stroke="{FAINT}"/>'
        yield _text(LEFT - 6, y + 4, number(share * most), "end")
    begin = 0.0
    steps = []
    for place, value in zip(places, curve.values, strict=True):
        y = bottom - value / most * HEIGHT
        first, last = (LEFT + at / places[-1] * WIDTH for at in (begin, place))
        steps.append(f"{first:.1f} {y:.1f}L{last:.1f} {y:.1f}")
        begin = place
    yield f'<path d="M{"L".join(steps)}" fill="none" stroke="{LINE}" stroke-width="1.5"/>'
    yield _text(LEFT, top - 6, curve.title)


def _text(x: float, y: float, words: str, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
        f"{escape(words)}</text>"
    )
