"""Panels of a plot, one an emotion and model, and bars with intervals in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emolib.reporting.plot_style import blank, fitting, grid, legend, plain, save, short
from emolib.results.rows import Row, group
from emolib.results.selection import StudyKey, study_of

# Of the largest bar of a panel; what has none as large as this does nothing there.
_FAINT = 0.05
# Width of a bar, of a letter below it and of what stands beside all bars of a panel, in inches; a
# group becomes no wider than that for its name.
_WIDE, _LETTER, _BESIDE, _WIDEST = 0.11, 0.06, 0.5, 0.6
# What stands above and below a panel, in inches.
_ABOVE = 0.45


class Panels:
    """The panels of a figure: a row an emotion, a column a model.

    Attributes:
        figure: The figure.
        axes: All panels, ``[emotions, models]``.
        models: The models, as they come.
        emotions: The emotions, as they come.
        width: Of a panel, about, in inches.
    """

    def __init__(self, studies: Iterable[StudyKey], size: tuple[float, float]) -> None:
        """Make a figure with a panel a model and emotion, each with its name.

        Args:
            studies: Whose models and emotions there are.
            size: Width and height of a panel, in inches.
        """
        found = list(studies)
        self.models = list(dict.fromkeys(study.model for study in found))
        self.emotions = list(dict.fromkeys(study.emotion for study in found))
        self.figure, self.axes = grid(len(self.emotions), len(self.models), size)
        width, height = self.figure.get_size_inches()
        self.width = width / max(1, len(self.models)) - _BESIDE
        for panel, model in zip(self.axes[0], self.models, strict=True):
            panel.set_title(plain(model, fitting(self.width - 0.2)))
        for panel, emotion in zip(self.axes[:, 0], self.emotions, strict=True):
            letters = fitting(height / len(self.emotions) - _ABOVE, "axes.labelsize")
            panel.set_ylabel(plain(emotion, letters))

    def __iter__(self) -> Iterator[tuple[StudyKey, Any]]:
        """Yield every study that there can be with its panel."""
        for line, emotion in zip(self.axes, self.emotions, strict=True):
            for panel, model in zip(line, self.models, strict=True):
                yield StudyKey(model, emotion), panel

    def below(self, label: str) -> None:
        """Name the horizontal axes, once a column."""
        for panel in self.axes[-1]:
            panel.set_xlabel(label)


class Bar(NamedTuple):
    """A bar of a group.

    Attributes:
        study: Which panel it is in.
        group: What stands below its group.
        style: Its place in the legend.
        mean: Its height.
        ends: Its 95 % CI, None where it has none.
    """

    study: StudyKey
    group: str
    style: str
    mean: float
    ends: tuple[float, float] | None


def bar_of(row: Row, name: str, style: str, metric: str) -> Iterator[Bar]:
    """Yield the bar of a metric of a row, none where the metric is undefined."""
    if (mean := row.mean(metric)) is not None:
        yield Bar(study_of(row), name, style, mean, row.interval(metric))


def error(mean: float, ends: tuple[float, float] | None) -> list[list[float]]:
    """Return how far an interval reaches from its mean, as matplotlib has it."""
    low, high = ends or (mean, mean)
    return [[max(0.0, mean - low)], [max(0.0, high - mean)]]


def that_move(bars: Iterable[Bar], shown: int) -> dict[StudyKey, list[str]]:
    """Return of each study the groups with the highest bars, without those that do nothing.

    Args:
        bars: Bars of any studies.
        shown: Groups of a study.
    """
    most: dict[StudyKey, dict[str, float]] = {}
    for bar in bars:
        sizes = most.setdefault(bar.study, {})
        sizes[bar.group] = max(abs(bar.mean), sizes.get(bar.group, 0.0))
    return {
        study: [
            name
            for name in sorted(sizes, key=lambda name: -sizes[name])[:shown]
            if sizes[name] > 0 and sizes[name] >= _FAINT * max(sizes.values())
        ]
        for study, sizes in most.items()
    }


def grouped(
    bars: Sequence[Bar],
    groups: Mapping[StudyKey, Sequence[str]],
    out: Path,
    styles: Mapping[str, dict[str, Any]],
    label: str,
    *,
    named: Callable[[str], str] = short,
) -> Path:
    """Draw groups of bars with their intervals, a panel per emotion and model.

    Args:
        bars: The bars, in the order in which they are drawn; those of other groups are left out.
        groups: Of every study, empty ones among them, its groups in order.
        out: The file to write.
        styles: What the bars of a group look like, in order.
        label: Of the vertical axes.
        named: From a group to what stands below it.
    """
    used = [name for name in styles if name in {bar.style for bar in bars}]
    place = {name: index - (len(used) - 1) / 2 for index, name in enumerate(used)}
    wide = 0.8 / max(1, len(used))
    most = max(map(len, groups.values()), default=0)
    below = {name: named(name) for of_study in groups.values() for name in of_study}
    letters = max((len(line) for name in below.values() for line in name.split("\n")), default=0)
    group_width = max(_WIDE * (len(used) + 1.5), min(_WIDEST, _LETTER * (letters + 1)))
    panels = Panels(groups, (max(2.2, group_width * most + _BESIDE), 1.7))
    drawn = group(bars, lambda bar: bar.study)
    for study, panel in panels:
        names = groups.get(study, ())
        if not names:
            blank(panel)
            continue
        at = {name: index for index, name in enumerate(names)}
        told = [bar for bar in drawn.get(study, ()) if bar.group in at and bar.style in place]
        for style, alike in group(told, lambda bar: bar.style).items():
            panel.bar(
                [at[bar.group] + place[style] * wide for bar in alike],
                [bar.mean for bar in alike],
                wide,
                yerr=np.hstack([error(bar.mean, bar.ends) for bar in alike]),
                ecolor="0.2",
                error_kw={"lw": 0.8},
                edgecolor="white",
                lw=0.3,
                **styles[style],
            )
        panel.axhline(0, color="0.4", lw=0.6)
        # Bars are as wide in all panels.
        middle, half = (len(names) - 1) / 2, most / 2 + 0.1
        panel.set_xlim(middle - half, middle + half)
        name_groups(panel, [below[name] for name in names], panels.width / max(1, most))
    legend(panels.figure, [_key(styles[name]) for name in used], used)
    panels.figure.supylabel(label)
    return save(panels.figure, out)


def name_groups(panel: Any, names: Sequence[str], room: float) -> None:
    """Put names below groups, slanted where they would run together.

    Args:
        panel: The panel; groups are at 0, 1, …
        names: The names, of one line or several.
        room: Of a group, in inches.
    """
    longest = max((len(line) for name in names for line in name.split("\n")), default=0)
    if longest < fitting(room, "xtick.labelsize", 1):
        panel.set_xticks(range(len(names)), names)
        return
    slanted = [name.replace("\n", ", ") for name in names]
    panel.set_xticks(range(len(names)), slanted, rotation=45, ha="right", va="top",
                     rotation_mode="anchor")  # fmt: skip


def _key(style: dict[str, Any]) -> Any:
    """Return the mark of a kind of bars in a legend."""
    # Imported here: as in `plot_style`.
    from matplotlib.patches import Patch

    return Patch(facecolor=style["color"], hatch=style.get("hatch"), edgecolor="white", lw=0.3)
