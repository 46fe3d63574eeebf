"""What was found, in sentences with links to heads."""

from __future__ import annotations

from emolib.reporting.page.page_parts import PageParts
from emolib.reporting.page.page_tables import (
    Sentence,
    Table,
    head_cell,
    sentence,
    study_cells,
    table_of,
)
from emolib.reporting.page.page_words import number


def found_in(parts: PageParts) -> tuple[Table, list[Sentence], list[Sentence]]:
    """Return the table "in short", what was found and what was not."""
    maps = parts.maps
    default = maps.default()
    lines, found = [], []
    for study in maps.studies:
        head = maps.ranked(study)[0]
        grid = maps.grids[study].get(default) if default else None
        if default is None or grid is None or grid.of(head) is None:
            continue
        value = [grid.of(head, part) for part in ("mean", "low", "high")]
        lines.append(study_cells(study) | {"head": head_cell(study, head), default.metric: value})
        size = number(grid.of(head) or 0.0)
        text = f"{', '.join(study)}: {head} moves {default.metric} the most, by {size}."
        found.append(sentence("effects", study, text))
    return table_of("In short", lines), found, []
