"""What every chart is drawn with: colours and type of the page, figures, lines with bands, and inline SVG."""

import html
import io
import re

import numpy as np

# What is drawn with, and the CSS variables that take their place on the page, where dark has values of its own.
INK, MUTED, GRID, FIRST, SECOND = "#1d2327", "#6b737a", "#e4e1db", "#3f6c93", "#b5471b"
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", FIRST: "--first", SECOND: "--second"}
# Series of more points are binned: the line is their mean, the band their range.
MOST_POINTS = 400
DASHED = {"color": MUTED, "linewidth": 0.8, "linestyle": (0, (3, 3))}
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 8,
    "text.color": INK,
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), GRID),
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), MUTED),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "axes.spines.left"), False),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size", "ytick.minor.size"), 0),
    "xtick.major.pad": 6,
    "ytick.major.pad": 5,
}


def open_figure(width, height, panels=None):
    """Returns a figure and its axes, or the list of them where a number of `panels` is given."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        drawn = figure.subplots(1, panels or 1, squeeze=False)[0]
        for axes in drawn:
            axes.grid(axis="y", color=GRID, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.margins(x=0.0)
    return figure, list(drawn) if panels else drawn[0]


def draw_line(axes, x, y, color, width, steps=False):
    """Draws a series; of many points their mean over a band of their range."""
    if len(x) == 1:
        axes.plot(x, y, color=color, marker="o", markersize=3)
        return
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) > MOST_POINTS:
        parts = np.array_split(np.arange(len(x)), MOST_POINTS)
        low, high = (np.array([function(y[part]) for part in parts]) for function in (np.nanmin, np.nanmax))
        x, y = (np.array([values[part].mean() for part in parts]) for values in (x, y))
        axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    axes.plot(x, y, color=color, linewidth=width, drawstyle="steps-pre" if steps else "default")


def label_ends(axes, labels, height):
    """Writes the names of the lines at their right ends, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    # This is about 9 points, since the plot takes some 85 % of the height.
    distance = (high - low) * 0.14 / height
    placed = -np.inf
    for value, text, color in sorted(labels):
        placed = max(value, placed + distance)
        axes.annotate(text, (1, placed), (5, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      va="center", color=color, fontsize=7.5,
                      fontweight="bold" if color == SECOND else "normal")  # fmt: skip


def to_svg(figure, name, salt=""):
    """Returns the figure as an `<svg>` that fits a page: no header, no sizes, no fonts, colours of the page."""
    import matplotlib

    file = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name + salt}):
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r' id="[a-zA-Z0-9.]*_\d+"', "", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r" transform=\"rotate\(-0 [^\"]*\"|<style.*?</style>", "", text)
    text = text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(name)}" ', 1)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return text.strip()
