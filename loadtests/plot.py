"""One kind of picture, as SVG: lines over a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 46, 52
COLOURS = ("#0b6e99", "#c4572f", "#3d8b40", "#8b5fbf")
Points = Sequence[tuple[float, float]]


def _steps(top: float) -> list[float]:
    """About five round values from 0 to `top`."""
    raw = top / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    return [step * i for i in range(int(top / step) + 2)]


def svg(
    lines: Mapping[str, Points],
    beyond: Mapping[str, tuple[float, float]] | None = None,
    *,
    title: str,
    x_title: str,
    y_title: str,
) -> str:
    """`lines`: (x, y) by name; x above 0, on a logarithmic axis, y from 0. `beyond`: where it goes on to a ring."""
    beyond = beyond or {}
    points = [*(point for line in lines.values() for point in line), *beyond.values()]
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    ticks = _steps(max(y for _, y in points))
    span = math.log10(x_high / x_low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * math.log10(x / x_low) / span
        return across, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / ticks[-1]

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
        f'<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_title)}</text>',
        f'<text transform="translate(16 {HEIGHT / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text>',
    ]
    for tick in ticks:
        _, y = place(x_low, tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for x in sorted({x for x, _ in points}):
        across, _ = place(x, 0)
        parts.append(f'<path d="M{across:.1f} {HEIGHT - BOTTOM}v5" stroke="#666"/>')
        parts.append(f'<text x="{across:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:g}</text>')
    for i, (name, line) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        placed = [place(x, y) for x, y in line]
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" '
            f'points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in placed)}"/>'
        )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        if name in beyond:
            (x1, y1), (x2, y2) = placed[-1], place(*beyond[name])
            stroke = f'stroke="{colour}" stroke-width="2"'
            parts.append(f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" {stroke} stroke-dasharray="3 3"/>')
            parts.append(f'<circle cx="{x2:.1f}" cy="{y2:.1f}" r="4" fill="white" {stroke}/>')
        parts.append(f'<text x="{LEFT + 170 * i}" y="38" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
