"""Curves over a campaign, as an SVG picture that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import attrs
from results import number

WIDTH, HEIGHT, GAP = 720, 150, 70
LEFT, RIGHT, TOP = 70, 20, 50
INK, FAINT, LINE = "#24292f", "#d0d7de", "#0969da"


@attrs.frozen
class Curve:
    """Values along the way, each for a stretch that ends at a place."""

    title: str
    values: Sequence[float]


def picture(title: str, places: Sequence[float], curves: Sequence[Curve], unit: str) -> str:
    """Curves below each other, all from 0: what is flat looks flat.

    Args:
        title: Of the picture.
        places: Where each stretch ends; the same for all curves.
        curves: What to draw.
        unit: What places are counted in.
    """
    width, height = LEFT + WIDTH + RIGHT, TOP + len(curves) * (HEIGHT + GAP)
    style = f'font-family="sans-serif" font-size="12" fill="{INK}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {style}>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(LEFT, 20, title, size=15),
    ]
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
