"""Diagram as an SVG file without external fonts or scripts."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from expkit.diagram.drawing import Box, Item, drawing
from expkit.diagram.layout import STACK, Layout, Line, Rect, layout
from expkit.diagram.shared_lines import Points, shared_lines
from expkit.network.spec import NetworkSpec

__all__ = ["svg"]

MARGIN = 24.0
PADDING = 10.0
TITLE, TEXT = 13.0, 11.0
"""Font sizes."""
ROW = 15.0
MAX_NOTE_WIDTH = 250.0
"""Width at which a layer's note is cut."""

COLORS = {
    "conv": ("#e4eefc", "#3d6fb4"),
    "depthwise": ("#e4eefc", "#3d6fb4"),
    "conv_transpose": ("#e4eefc", "#3d6fb4"),
    "dense": ("#e0f3ec", "#2c8a6c"),
    "batch_norm": ("#fbf1dc", "#a97a1f"),
    "layer_norm": ("#fbf1dc", "#a97a1f"),
    "pooling": ("#ebe8f8", "#6657b3"),
    "embedding": ("#f7e6f2", "#a0468a"),
    "recurrent": ("#fdeae3", "#b9583a"),
    "attention": ("#fce6ea", "#b23c58"),
    "input": ("#33404f", "#33404f"),
    "output": ("#33404f", "#33404f"),
}
"""Fill and border by the family of a layer."""
OTHER = ("#f2f4f6", "#78838f")
SHARED = "#c8470f"
INK, MUTED = "#1c2733", "#5f6b78"
BOX_FILLS = ("#f8f9fb", "#eef1f5")
"""Fills of scopes, by depth."""

STYLE = f"""\
text{{font-family:Helvetica,Arial,'Liberation Sans',sans-serif;font-size:{TEXT:g}px;fill:{INK}}}
.b{{font-size:{TITLE:g}px;font-weight:bold}}.m{{fill:{MUTED}}}.w{{fill:#fff}}.v{{fill:#c9d1da}}.e{{text-anchor:end}}
.s{{fill:{SHARED}}}.l{{fill:none;stroke:#7d8894;stroke-width:1.4}}.d{{fill:none;stroke:{SHARED};stroke-width:5}}
.c{{fill:none;stroke:#fff;stroke-width:2.2}}.h{{paint-order:stroke;stroke-width:4;stroke-linejoin:round}}
"""


def svg(spec: NetworkSpec, title: str) -> str:
    """Return a diagram of a network: scopes as boxes, layers that share variables joined by double lines."""
    graph = drawing(spec)
    page = layout(graph, _size, _title_width)
    shared = shared_lines(graph, page)
    xs = [0.0, page.width, *(x for points in shared for x, _ in points)]
    total = sum(variable.size for variable in spec.variables.values())
    caption = f"{len(spec.variables)} variable{'' if len(spec.variables) == 1 else 's'}, {total:,} parameters"
    header = 46.0
    left = min(xs) - MARGIN
    width = max(max(xs) - min(xs) + 2 * MARGIN, text_width(f"{title}  {caption}", TITLE) + 3 * MARGIN)
    left -= (width - (max(xs) - min(xs) + 2 * MARGIN)) / 2
    legend = _legend(left + MARGIN, page.height + 34) if shared else ""
    height = page.height + header + MARGIN + (30 if shared else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:g} {-header:g} {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0.5L8 4L0 7.5z" fill="#7d8894"/></marker></defs>',
        f'<rect x="{left:g}" y="{-header:g}" width="{width:g}" height="{height:g}" fill="#fff"/>',
        f'<text class="b" x="{left + MARGIN:g}" y="-22">{escape(title)}'
        f'<tspan class="m" dx="10" font-weight="normal" font-size="{TEXT:g}">{caption}</tspan></text>',
        *_boxes(page),
        *(_line(line) for line in page.lines),
        *_titles(page),
        *(_shared_line(points) for points in shared),
        *(_item(item, rect) for item, rect in page.items),
        legend,
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def text_width(text: str, size: float) -> float:
    """Return an upper estimate of the width of a text, because the viewer's font is unknown."""
    widths = 0.0
    for letter in text:
        if letter in "ijl.,:;'|!· ":
            widths += 0.3
        elif letter in "frtI()[]-/":
            widths += 0.38
        elif letter in "mwMW@%…":
            widths += 0.92
        elif letter.isupper():
            widths += 0.72
        else:
            widths += 0.58
    return widths * size


def _cut(text: str) -> str:
    while text_width(text, TEXT) > MAX_NOTE_WIDTH:
        text = text.removesuffix("…")[:-1].rstrip(" ·") + "…"
    return text


def _size(item: Item) -> tuple[float, float]:
    heading = text_width(item.title, TITLE) + 16 + text_width(item.shape, TEXT)
    if item.family in ("input", "output"):
        return heading + 2 * PADDING + 8, 30.0
    rows = (text_width(row.name, TEXT) + 16 + text_width(row.shape, TEXT) for row in item.rows)
    width = max(heading, text_width(_cut(item.note), TEXT), 100.0, *rows)
    return width + 2 * PADDING, 42 + ROW * len(item.rows) + (3 if item.rows else 0)


def _title_width(box: Box) -> float:
    return text_width(box.title, TITLE) + (60 if box.times > 1 else 20) if box.path else 0.0


def _boxes(page: Layout) -> Iterator[str]:
    for box, rect in page.boxes:
        shape = f'width="{rect.width:g}" height="{rect.height:g}" rx="9" stroke="#b9c2cc" fill="{_fill(box)}"'
        for away in (STACK, STACK / 2, 0.0) if box.times > 1 else (0.0,):
            hint = "" if away else f"<title>{escape(box.path)}</title>"
            yield f'<rect x="{rect.x + away:g}" y="{rect.y + away:g}" {shape}>{hint}</rect>'


def _titles(page: Layout) -> Iterator[str]:
    """Draw the titles of boxes, with an outline that separates them from lines behind."""
    for box, rect in page.boxes:
        room = f'y="{rect.y + 19:g}" stroke="{_fill(box)}"'
        yield f'<text class="b h" x="{rect.x + PADDING:g}" {room}>{escape(box.title)}</text>'
        if box.times > 1:
            caption = f"× {box.times}" + (", one set of variables" if box.shared else "")
            kind = "s" if box.shared else "m"
            yield f'<text class="b h e {kind}" x="{rect.right - PADDING:g}" {room}>{caption}</text>'


def _fill(box: Box) -> str:
    return BOX_FILLS[box.path.count("/") % len(BOX_FILLS)]


def _item(item: Item, rect: Rect) -> str:
    fill, edge = COLORS.get(item.family, OTHER)
    end = item.family in ("input", "output")
    left, right = rect.x + PADDING, rect.right - PADDING
    lines = [
        f"<g><title>{escape(item.hint)}</title>",
        f'<rect x="{rect.x:g}" y="{rect.y:g}" width="{rect.width:g}" height="{rect.height:g}" '
        f'rx="{15 if end else 6}" fill="{fill}" stroke="{edge}"/>',
        f'<text class="b{" w" if end else ""}" x="{left:g}" y="{rect.y + 19:g}">{escape(item.title)}</text>',
        f'<text class="e {"v" if end else "m"}" x="{right:g}" y="{rect.y + 19:g}">{escape(item.shape)}</text>',
    ]
    if not end:
        lines.append(f'<text class="m" x="{left:g}" y="{rect.y + 34:g}">{escape(_cut(item.note))}</text>')
    if item.rows:
        lines.append(f'<path d="M{rect.x:g} {rect.y + 41:g}h{rect.width:g}" stroke="{edge}" stroke-opacity=".35"/>')
    for i, row in enumerate(item.rows):
        y = rect.y + 41 + ROW * (i + 1) - 3
        kind = ' class="s"' if row.shared else "" if row.trainable else ' class="m" font-style="italic"'
        lines.append(f'<text{kind} x="{left:g}" y="{y:g}">{escape(row.name)}</text>')
        lines.append(f'<text class="e {"s" if row.shared else "m"}" x="{right:g}" y="{y:g}">{escape(row.shape)}</text>')
    return "".join(lines) + "</g>"


def _line(line: Line) -> str:
    middle = (line.bend + line.reach) / 2
    path = f"M{line.x:g} {line.top:g}V{line.bend:g}"
    if line.x == line.to:
        path += f"V{line.reach:g}"
    else:
        path += f"C{line.x:g} {middle:g} {line.to:g} {middle:g} {line.to:g} {line.reach:g}"
    path += f"V{line.end:g}" if line.end != line.reach else ""
    arrow = ' marker-end="url(#a)"' if line.arrow else ""
    return f'<path class="l" d="{path}"{arrow}/>'


def _shared_line(points: Points) -> str:
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    return f'<path class="d" d="{path}"/><path class="c" d="{path}"/>'


def _legend(x: float, y: float) -> str:
    line = f"M{x:g} {y - 4:g}h30"
    return (
        f'<path class="d" d="{line}"/><path class="c" d="{line}"/>'
        f'<text class="m" x="{x + 38:g}" y="{y:g}">share variables</text>'
    )
