"""Charts as inline SVG that take their colours and their type from the page, and as a picture."""

import dataclasses
import html
import io
import re

import numpy as np

from budgetbert.budget import describe

# What is drawn with, and the CSS variables that take their place on the page, where dark has values of its own.
_INK, _MUTED, _GRID, _FIRST, _SECOND = "#1d2327", "#6b737a", "#e4e1db", "#3f6c93", "#b5471b"
_VARIABLES = {_INK: "--ink", _MUTED: "--muted", _GRID: "--line", _FIRST: "--first", _SECOND: "--second"}
MOST_POINTS = 400  # more are binned: the line is their mean, the band their range
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "text.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 5,
    "ytick.minor.size": 0,
}


def loss_chart(training, validation, entropy, incidents, width, height):
    """Draws training and validation loss in nats over tokens.

    Args:
        training, validation: tuples of two lists, tokens and nats; either may be empty.
        entropy: float or `None`. The unigram entropy of the held-out rows in nats, drawn as a level.
        incidents: list of float. The tokens at which something happened, marked on the axis.
        width, height: float. In inches of 72 SVG units.

    Returns:
        str, an `<svg>` element.
    """
    figure, axes = _open(width, height)
    _losses(axes, training, validation, entropy, height)
    if incidents:  # half above the axis, half below
        place = {"transform": axes.get_xaxis_transform(), "clip_on": False, "zorder": 4}
        axes.plot(incidents, [0] * len(incidents), "|", color=_SECOND, markersize=9, markeredgewidth=1.2, **place)
    return _svg(figure, "Loss in nats over tokens", salt=f"{width} {training[0][:1]}")


def draw_loss(training, validation, entropy, path):
    """Writes the chart of `loss_chart` as a PNG file."""
    figure, axes = _open(8, 4)
    _losses(axes, training, validation, entropy, 4)
    axes.set_ylabel("masked-LM loss, nats")
    figure.savefig(path, format="png", dpi=150)


def _losses(axes, training, validation, entropy, height):
    labels = []
    if entropy:
        axes.axhline(entropy, color=_MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        labels.append((entropy, "unigram entropy", _MUTED))
    if training[0]:
        _line(axes, *training, _FIRST, 1.2)
        labels.append((training[1][-1], "training", _FIRST))
    if validation[0]:
        few = len(validation[0]) <= 30
        axes.plot(*validation, color=_SECOND, linewidth=1.6, marker="o" if few else None, markersize=3.2, zorder=3)
        labels.append((validation[1][-1], "validation", _SECOND))
    _end_labels(axes, labels, height)
    axes.xaxis.set_major_formatter(lambda value, _: describe(value) if value else "0")
    axes.set_xlabel("tokens", loc="right")


def curve_chart(name, x, y, *, level=None, format_y=None, percent=False, steps=False, width=4.3, height=1.75):
    """Draws one series over the spent share of the budget.

    Args:
        name: str. What it is, for screen readers.
        x: list of float in [0, 1].
        y: list of float.
        level: float, drawn dashed. Defaults to none.
        format_y: function of a value that returns the label of a tick. Defaults to matplotlib's.
        percent: bool. Whether y is a share. Defaults to `False`.
        steps: bool. Whether y stays the same between the points. Defaults to `False`.
        width, height: float. In inches of 72 SVG units.

    Returns:
        str, an `<svg>` element.
    """
    figure, axes = _open(width, height)
    _curve(axes, x, y, level=level, format_y=format_y, percent=percent, steps=steps)
    return _svg(figure, name)


def draw_curves(curves, path):
    """Writes curves over the spent share of the budget, side by side, as a PNG file.

    Args:
        curves: list of tuples of a title, x, y, and a dict of `format_y`, `percent` and `steps` as for `curve_chart`.
        path: str.
    """
    figure, panels = _open(3.3 * len(curves), 2.4, len(curves))
    for axes, (title, x, y, style) in zip(panels, curves, strict=True):
        axes.set_title(title, loc="left", color=_INK, fontsize=9)
        _curve(axes, x, y, **style)
    figure.supxlabel("spent share of the budget", x=1.0, ha="right", color=_MUTED, fontsize=8)
    figure.savefig(path, format="png", dpi=150)


def _curve(axes, x, y, *, level=None, format_y=None, percent=False, steps=False):
    """Draws one series over the spent share of the budget."""
    from matplotlib.ticker import PercentFormatter

    if level is not None:
        axes.axhline(level, color=_MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
    _line(axes, x, y, _FIRST, 1.4, steps)
    positive = min(y) > 0
    if positive and max(y) > 20 * float(np.median(y)) and not percent:
        axes.set_yscale("log")
        axes.minorticks_off()
    elif min(y) >= 0:
        axes.set_ylim(0, 1.12 * max([*y, level or 0]) or 1)
    if axes.get_yscale() == "linear":
        axes.locator_params(axis="y", nbins=4)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    elif format_y:
        axes.yaxis.set_major_formatter(lambda value, _: format_y(value) if value else "0")
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))


def length_chart(name, counts, *, low, high, width=4.3, height=1.75):
    """Draws which share of some documents is how long.

    Args:
        name: str. What it is, for screen readers.
        counts: list of int. The number of documents of 1 character, of 2 and 3, of 4 to 7, and so on.
        low, high: int. The range of powers of two to draw, the same for charts that are to be compared.
        width, height: float. In inches of 72 SVG units.

    Returns:
        str, an `<svg>` element.
    """
    from matplotlib.ticker import PercentFormatter

    figure, axes = _open(width, height)
    edges = 2.0 ** np.arange(low, high + 1)
    shares = np.asarray(counts[low:high], float) / sum(counts)
    axes.bar(edges[:-1], shares, width=0.94 * np.diff(edges), align="edge", color=_FIRST, linewidth=0)
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xlim(edges[0], edges[-1])
    axes.xaxis.set_major_formatter(lambda value, _: describe(value))
    axes.set_xlabel("characters", loc="right")
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if shares.max() > 0.04 else None))
    return _svg(figure, name)


def rank_chart(ranks, frequencies, *, width=8.8, height=3.3):
    """Draws the frequencies of tokens over their rank, both logarithmic, beside Zipf's law.

    Args:
        ranks: list of int, ascending from 1.
        frequencies: list of int, none of them 0.
        width, height: float. In inches of 72 SVG units.

    Returns:
        str, an `<svg>` element.
    """
    figure, axes = _open(width, height)
    law = [frequencies[0] / rank for rank in ranks]
    axes.plot(ranks, law, color=_MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
    axes.plot(ranks, frequencies, color=_FIRST, linewidth=1.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: describe(value))
    axes.set_xlim(1, 1.06 * ranks[-1])
    axes.set_xlabel("rank", loc="right")
    middle = len(ranks) // 2
    below = law[middle] < frequencies[middle]  # the label goes where the curve is not
    axes.annotate("Zipf: 1/rank", (ranks[middle], law[middle]), (-4, -4) if below else (4, 4),
                  textcoords="offset points", ha="right" if below else "left", va="top" if below else "bottom",
                  color=_MUTED, fontsize=7.5)  # fmt: skip
    return _svg(figure, "Occurrences of tokens over their rank", salt=f"{width}")


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar of a `bar_chart`.

    Args:
        label: str.
        value: float.
        kind: str. `"ours"`, `"baseline"`, `"other"`, or `"apart"`: hollow, of another scale than the rest.
        range: tuple of two float, drawn as a line over its end. Defaults to none.
    """

    label: str
    value: float
    kind: str
    range: tuple | None = None


def bar_chart(name, bars, *, level=None, width=4.3):
    """Draws scores in percent as bars, one under the other, each with its number.

    Args:
        name: str. What it is, for screen readers.
        bars: list of `Bar`.
        level: float, drawn dashed. Defaults to none.
        width: float. In inches of 72 SVG units.

    Returns:
        str, an `<svg>` element.
    """
    figure, axes = _open(width, 0.3 + 0.2 * len(bars))
    styles = {
        "ours": {"color": _SECOND},
        "baseline": {"color": _FIRST},
        "other": {"color": _MUTED, "alpha": 0.5},
        "apart": {"facecolor": "none", "edgecolor": _MUTED, "linewidth": 0.8},
    }
    lowest = min(0.0, *(bar.value for bar in bars), *(bar.range[0] for bar in bars if bar.range))
    for place, bar in enumerate(bars):
        axes.barh(place, bar.value, height=0.62, zorder=2, **styles[bar.kind])
        end = max(bar.value, 0.0)
        if bar.range and bar.range[0] < bar.range[1]:
            axes.plot(bar.range, (place, place), color=_INK, linewidth=1, marker="|", markersize=4, zorder=3)
            end = max(end, bar.range[1])
        axes.annotate(f"{bar.value:.1f}", (end, place), (4, 0), textcoords="offset points", va="center", color=_INK,
                      fontsize=7.5, fontweight="bold" if bar.kind == "ours" else "normal")  # fmt: skip
    if level is not None:
        axes.axvline(level, color=_MUTED, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.grid(axis="x", color=_GRID, linewidth=0.6)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(1.05 * lowest, 110)
    axes.set_xticks(range(0, 101, 25))
    return _svg(figure, name)


def _open(width, height, panels=None):
    """Returns a figure and its axes, or the list of them where a number of `panels` is given."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        drawn = figure.subplots(1, panels or 1, squeeze=False)[0]
        for axes in drawn:
            axes.grid(axis="y", color=_GRID, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.margins(x=0.0)
    return figure, list(drawn) if panels else drawn[0]


def _line(axes, x, y, color, width, steps=False):
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


def _end_labels(axes, labels, height):
    """Writes the names of the lines at their right ends, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    distance = (high - low) * 0.14 / height  # about 9 points: the plot is some 85 % of the height
    placed = -np.inf
    for value, text, color in sorted(labels):
        placed = max(value, placed + distance)
        axes.annotate(text, (1, placed), (5, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      va="center", color=color, fontsize=7.5,
                      fontweight="bold" if color == _SECOND else "normal")  # fmt: skip


def _svg(figure, name, salt=""):
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
