"""Charts as inline SVG that take their colours and their type from the page, and as a picture."""

import dataclasses

import numpy as np

from budgetbert.budget import describe
from budgetbert.reporting.figures import (
    DASHED,
    FIRST,
    GRID,
    INK,
    MUTED,
    SECOND,
    draw_line,
    label_ends,
    open_figure,
    to_svg,
)


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
    figure, axes = open_figure(width, height)
    _losses(axes, training, validation, entropy, height)
    # The marks lie half above and half below the axis.
    if incidents:
        place = {"transform": axes.get_xaxis_transform(), "clip_on": False, "zorder": 4}
        axes.plot(incidents, [0] * len(incidents), "|", color=SECOND, markersize=9, markeredgewidth=1.2, **place)
    return to_svg(figure, "Loss in nats over tokens", salt=f"{width} {training[0][:1]}")


def draw_loss(training, validation, entropy, path):
    """Writes the chart of `loss_chart` as a PNG file."""
    figure, axes = open_figure(8, 4)
    _losses(axes, training, validation, entropy, 4)
    axes.set_ylabel("masked-LM loss, nats")
    figure.savefig(path, format="png", dpi=150)


def _losses(axes, training, validation, entropy, height):
    labels = []
    if entropy:
        axes.axhline(entropy, **DASHED)
        labels.append((entropy, "unigram entropy", MUTED))
    if training[0]:
        draw_line(axes, *training, FIRST, 1.2)
        labels.append((training[1][-1], "training", FIRST))
    if validation[0]:
        few = len(validation[0]) <= 30
        axes.plot(*validation, color=SECOND, linewidth=1.6, marker="o" if few else None, markersize=3.2, zorder=3)
        labels.append((validation[1][-1], "validation", SECOND))
    label_ends(axes, labels, height)
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
    figure, axes = open_figure(width, height)
    _curve(axes, x, y, level=level, format_y=format_y, percent=percent, steps=steps)
    return to_svg(figure, name)


def calibration_chart(confidence, accuracy, *, width=4.3, height=2.6):
    """Draws how often a model is right over how sure it is, beside the line on which both are equal.

    Args:
        confidence, accuracy: lists of float in [0, 1], the means of each range of confidence.
        width, height: float. In inches of 72 SVG units.

    Returns:
        str, an `<svg>` element.
    """
    from matplotlib.ticker import PercentFormatter

    figure, axes = open_figure(width, height)
    axes.plot((0, 1), (0, 1), **DASHED)
    axes.plot(confidence, accuracy, color=SECOND, linewidth=1.6, marker="o", markersize=3.2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("how sure", loc="right")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    return to_svg(figure, "How often it is right over how sure it is")


def draw_curves(curves, path):
    """Writes curves over the spent share of the budget, side by side, as a PNG file.

    Args:
        curves: list of tuples of a title, x, y, and a dict of `format_y`, `percent` and `steps` as for `curve_chart`.
        path: str.
    """
    figure, panels = open_figure(3.3 * len(curves), 2.4, len(curves))
    for axes, (title, x, y, style) in zip(panels, curves, strict=True):
        axes.set_title(title, loc="left", color=INK, fontsize=9)
        _curve(axes, x, y, **style)
    figure.supxlabel("spent share of the budget", x=1.0, ha="right", color=MUTED, fontsize=8)
    figure.savefig(path, format="png", dpi=150)


def _curve(axes, x, y, *, level=None, format_y=None, percent=False, steps=False):
    """Draws one series over the spent share of the budget."""
    from matplotlib.ticker import PercentFormatter

    if level is not None:
        axes.axhline(level, **DASHED)
    draw_line(axes, x, y, FIRST, 1.4, steps)
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


def draw_comparison(names, series, x_label, y_label, format_x, path):
    """Writes curves laid over each other, each with its name, as a picture.

    Args:
        names: list of str.
        series: list of tuples of two lists, x and y.
        x_label, y_label: str.
        format_x: function of a value that returns the label of a tick.
        path: str. Its ending says the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for name, (x, y) in zip(names, series, strict=True):
        axes.plot(x, y, label=name, linewidth=1.4, marker="o" if len(x) <= 30 else None, markersize=3)
    axes.xaxis.set_major_formatter(lambda value, _: format_x(value) if value else "0")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.margins(x=0.01)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=140)


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

    figure, axes = open_figure(width, height)
    edges = 2.0 ** np.arange(low, high + 1)
    shares = np.asarray(counts[low:high], float) / sum(counts)
    axes.bar(edges[:-1], shares, width=0.94 * np.diff(edges), align="edge", color=FIRST, linewidth=0)
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xlim(edges[0], edges[-1])
    axes.xaxis.set_major_formatter(lambda value, _: describe(value))
    axes.set_xlabel("characters", loc="right")
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if shares.max() > 0.04 else None))
    return to_svg(figure, name)


def rank_chart(ranks, frequencies, *, width=8.8, height=3.3):
    """Draws the frequencies of tokens over their rank, both logarithmic, beside Zipf's law.

    Args:
        ranks: list of int, ascending from 1.
        frequencies: list of int, none of them 0.
        width, height: float. In inches of 72 SVG units.

    Returns:
        str, an `<svg>` element.
    """
    figure, axes = open_figure(width, height)
    law = [frequencies[0] / rank for rank in ranks]
    axes.plot(ranks, law, **DASHED)
    axes.plot(ranks, frequencies, color=FIRST, linewidth=1.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: describe(value))
    axes.set_xlim(1, 1.06 * ranks[-1])
    axes.set_xlabel("rank", loc="right")
    middle = len(ranks) // 2
    # The label goes where the curve is not.
    below = law[middle] < frequencies[middle]
    axes.annotate("Zipf: 1/rank", (ranks[middle], law[middle]), (-4, -4) if below else (4, 4),
                  textcoords="offset points", ha="right" if below else "left", va="top" if below else "bottom",
                  color=MUTED, fontsize=7.5)  # fmt: skip
    return to_svg(figure, "Occurrences of tokens over their rank", salt=f"{width}")


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
    figure, axes = open_figure(width, 0.3 + 0.2 * len(bars))
    styles = {
        "ours": {"color": SECOND},
        "baseline": {"color": FIRST},
        "other": {"color": MUTED, "alpha": 0.5},
        "apart": {"facecolor": "none", "edgecolor": MUTED, "linewidth": 0.8},
    }
    lowest = min(0.0, *(bar.value for bar in bars), *(bar.range[0] for bar in bars if bar.range))
    for place, bar in enumerate(bars):
        axes.barh(place, bar.value, height=0.62, zorder=2, **styles[bar.kind])
        end = max(bar.value, 0.0)
        if bar.range and bar.range[0] < bar.range[1]:
            axes.plot(bar.range, (place, place), color=INK, linewidth=1, marker="|", markersize=4, zorder=3)
            end = max(end, bar.range[1])
        axes.annotate(f"{bar.value:.1f}", (end, place), (4, 0), textcoords="offset points", va="center", color=INK,
                      fontsize=7.5, fontweight="bold" if bar.kind == "ours" else "normal")  # fmt: skip
    if level is not None:
        axes.axvline(level, **DASHED, zorder=1)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(1.05 * lowest, 110)
    axes.set_xticks(range(0, 101, 25))
    return to_svg(figure, name)
