"""Results brought together, and what is made of all rows made anew: tables, scores, items."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from emolib.errors import InputError
from emolib.files import command
from emolib.reporting.experiments import SCREENED
from emolib.reporting.tables import write_table_of
from emolib.results.contexts import differences
from emolib.results.item_files import MOST, is_of, write_output, writers
from emolib.results.merging import bring, find_results, overlap
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, study_of, subject
from emolib.results.shard_runs import ShardSet, shard_sets


def merge(places: Sequence[Path], into: Path, profile: str, *, mixed: bool) -> Iterator[str]:
    """Bring results into one folder, and yield the lines on what that came to.

    Args:
        places: Results folders, or folders that have one of the profile; none where all shards
            wrote into the one folder already.
        into: The results folder of the profile where all is to be.
        profile: The profile's name.
        mixed: Whether rows may stand on different things.

    Raises:
        InputError: When there are no results, or what they stand on differs: a line for each
            difference, and nothing was written.
    """
    sources = [find_results(place, profile) for place in places]
    # Not Path.resolve, which raises an error of its own where links go round.
    others = [one for one in sources if os.path.realpath(one) != os.path.realpath(into)]
    stores = {str(folder): Store(folder) for folder in others}
    before = Store(into)
    if not len(before) and not stores:
        raise InputError(
            f"{into}: nothing was recorded there; name the folders of the shards, or run them"
        )
    _check({str(into): before, **stores}, mixed=mixed)
    target = Store(into)
    target.open()
    try:
        brought = [name for source in others for name in bring(source, target)]
    finally:
        target.close()
    merged = Store(into)
    runs, items = f"{_count(merged.runs(), 'run')}", _count(list(merged), "item")
    came = f"; new: {_count(brought, 'run')}, {len(merged) - len(before)} items" if others else ""
    yield f"{into}: {runs}, {items}{came}"
    if (again := overlap(merged.recorded_again())).items:
        yield again.line()
    if left := rewrite(into, merged):
        yield left
    yield from ranks_that_differ(merged.rows())
    for whole in shard_sets(merged.runs()):
        complaints = whole.complaints()
        yield from complaints or [f"all {whole.of} shards of {whole.command}"]


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'s' * (len(things) != 1)}"


def _check(stores: dict[str, Store], *, mixed: bool) -> None:
    """Refuse rows that do not belong in one table, unless that is wanted."""
    rows: dict[str, Iterable[Row]] = {}
    for folder, store in stores.items():
        sets = shard_sets(store.runs())
        for shard, run in _runs(sets):
            rows[f"{folder} ({shard})"] = store.rows(run=run)
        if not sets:
            rows[folder] = store.rows()
    if not mixed and (lines := differences(rows)):
        raise InputError(
            "these results do not stand on the same, so that tables would mix what cannot be "
            "compared; run the shards anew where they should not differ, or keep them all with "
            "--mixed, where tables show what was recorded last: " + "; ".join(lines)
        )


def _runs(sets: Iterable[ShardSet]) -> Iterator[tuple[str, str]]:
    for whole in sets:
        for number, run in sorted(whole.runs.items()):
            yield f"shard {number}/{whole.of} on {run.host}", run.id


def rewrite(folder: Path, store: Store) -> str | None:
    """Write anew what is made of a store's rows: tables, scores files, files of items.

    Of many items those files alone that are there. Baselines of the regression check are left
    alone: each is of one run of all its items.

    Returns:
        What is left to do, None where nothing is.
    """
    for experiment in store.experiments():
        # Read as they are written: those of a large model do not fit in memory.
        rows = partial(store.rows, experiment)
        write_table_of(folder / "tables", experiment, rows, store.whole_rows(experiment))
        shared = {row.output["path"]: row for row in rows() if row.output.get("shape") == "scores"}
        for row in shared.values():
            write_output(folder, [row], rows())
    own = writers(store.rows())
    left = [path for path in own if len(own) > MOST and not (folder / path).exists()]
    for path in own.keys() - set(left):
        if not is_of(folder / path, own[path]):
            write_output(folder, store[own[path]], ())
    if not left:
        return None
    typed = command("export --format files", folder)
    return f"{len(left)} items without a results file; to write them: {typed}"


def ranks_that_differ(rows: Iterable[Row]) -> Iterator[str]:
    """Yield a line for each rank that does not stand for the head that the scores say.

    Every shard ranks the heads that it needs ranked by itself. On machines that round otherwise two
    heads that score alike may have changed places.

    Args:
        rows: Those of a store that can stand in one table.
    """
    scored: dict[StudyKey, list[tuple[float, str, str]]] = {}
    named: dict[tuple[StudyKey, int], set[str]] = {}
    for row in rows:
        study, spec = study_of(row), row.labels.get("spec", "")
        if row.experiment == SCREENED:
            entry = -abs(row.mean("atp_ig") or 0.0), row.item, subject(row)
            scored.setdefault(study, []).append(entry)
        elif spec.startswith("top") and "heads" in row.dims:
            named.setdefault((study, int(spec.removeprefix("top"))), set()).add(row.dims["heads"])
    rankings = {study: [head for *_, head in sorted(found)] for study, found in scored.items()}
    for (study, rank), heads in sorted(named.items()):
        found = sorted(heads | set(rankings.get(study, [])[rank - 1 : rank]))
        if len(found) > 1:
            yield (
                f"top{rank} of {study.model}, {study.emotion} is {' or '.join(found)}, by who "
                "ranked: they score alike to rounding, or not all was run on one machine"
            )
