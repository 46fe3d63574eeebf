"""The one writer: rows to the store, files of items and of many, and what the terminal shows."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
from made import around, rows_of
from pytest_emolib.writing import Writing, command

from emolib.results.rows import Row


def config(fresh=None, stored=None, tables=None):
    """Give what a writer asks a config."""
    given = {"emolib_fresh": fresh, "emolib_table_format": None, "emolib_item_files": None,
             "emolib_tables": tables}  # fmt: skip
    plugins = SimpleNamespace(get_plugin={"session": SimpleNamespace(testscollected=1)}.get)
    made = SimpleNamespace(getoption=given.__getitem__, pluginmanager=plugins)
    if stored is not None:
        made.workerinput = {"emolib_stored": stored}
    return made


class Terminal:
    """Takes lines where pytest's reporter would."""

    def __init__(self):
        self.lines = []
        self._tw = SimpleNamespace(fullwidth=80)

    def write_line(self, line, **markup):
        self.lines.append(line)

    def write_sep(self, sep, title):
        self.lines.append(f"[{title}]")


def row(name="L0H0", shape="item", path="heads/{}.json", experiment="it", model="m"):
    made = Row(
        f"exp.py::exp_{experiment}[{model}-{name}]", experiment, f"key-{model}-{name}", 0, 1,
        {"model": model, "heads": name}, values={"kl": 0.5},
        output={"path": path.format(name), "shape": shape} if shape else {},
    )  # fmt: skip
    return asdict(made)


@pytest.fixture
def writing(tmp_path):
    made = Writing(config(), tmp_path / "demo")
    made.store.open()
    yield made
    made.store.close()


def test_an_item_s_rows_go_to_the_store_and_to_its_file(writing):
    writing.receive([row()])
    assert writing.holds("key-m-L0H0") and not writing.holds("key-m-L0H1")
    content = json.loads((writing.folder / "heads/L0H0.json").read_text("utf-8"))
    assert content["item"] == "exp.py::exp_it[m-L0H0]"


def test_a_stored_item_s_file_is_written_where_it_is_not_its_own(writing):
    writing.receive([row()])
    file = writing.folder / "heads/L0H0.json"
    file.write_text("{}", "utf-8")
    writing.replay("key-m-L0H0")
    own = file.read_text("utf-8")
    assert "L0H0" in own
    stamp = file.stat().st_mtime_ns
    writing.replay("key-m-L0H0")
    assert file.stat().st_mtime_ns == stamp


def test_tables_of_the_same_rows_are_written_once(tmp_path):
    def run(*names):
        made = Writing(config(), tmp_path / "demo")
        for name in names:
            if made.holds(f"key-m-{name}"):
                made.store.open()
                made.replay(f"key-m-{name}")
            else:
                made.receive([row(name, shape="")])
        made.finish()
        return [path.stat().st_mtime_ns for path in files]

    files = [tmp_path / "demo/tables/it.csv", tmp_path / "demo/tables/it.md"]
    first = run("L0H0")
    assert run("L0H0") == first
    second = run("L0H1")
    assert all(a != b for a, b in zip(first, second, strict=True))
    assert run("L0H0") == run("L0H0", "L0H1") == second
    # A file that is another by now, or gone, is made again.
    text = files[0].read_text("utf-8")
    files[0].write_text("mine", "utf-8")
    assert run("L0H0")[1] != second[1] and files[0].read_text("utf-8") == text
    files[1].unlink()
    run("L0H0")
    assert files[1].is_file()


def test_tables_are_written_at_the_end_and_the_store_is_let_go(writing):
    writing.receive([row()])
    writing.receive([row("L0H1", shape="")])
    writing.finish()
    text = (writing.folder / "tables/it.csv").read_text("utf-8")
    assert "L0H0" in text and "L0H1" in text
    other = Writing(config(), writing.folder)
    other.store.open()
    other.store.close()


def test_a_run_that_stored_nothing_writes_nothing(tmp_path):
    made = Writing(config(), tmp_path / "demo")
    made.finish()
    made.summarize(Terminal(), list, lambda *to: None)
    assert not (tmp_path / "demo").exists()


def test_the_terminal_shows_tables_in_the_order_of_names_then_effects_then_where(writing):
    for model in ("b", "a"):
        writing.receive([row(model=model)])
    writing.replay("key-a-L0H0")
    terminal = Terminal()
    writing.summarize(terminal, lambda: ["b", "a"], lambda to, fmt: to.write_line(f"<{fmt}>"))
    title, table, *_, effects, end, every = terminal.lines
    assert title == "[it]" and effects == "<simple>"
    assert table.index("\nb ") < table.index("\na ")
    assert end == f"written to {writing.folder}, 1 items from the store (--fresh recomputes)"
    assert every == f"every row: {writing.folder}/tables/; --tables all prints them"


def test_nothing_but_where_is_printed_where_no_tables_are_asked_for(tmp_path):
    made = Writing(config(tables="none"), tmp_path / "demo")
    made.receive([row()])
    terminal = Terminal()
    made.summarize(terminal, lambda: [], lambda to, fmt: None)
    made.store.close()
    assert terminal.lines == [f"written to {made.folder}"]


def test_a_run_on_heads_ends_with_a_line_a_study_and_what_to_type_next(tmp_path):
    folder = tmp_path / "out/mine"
    made = Writing(config(), folder)
    for name, effect in (("L0H0", -2.0), ("L0H1", 0.01)):
        (found,) = rows_of("head_ablation", {"logit_diff": around(effect)}, heads=name,
                           ablation="zero")  # fmt: skip
        made.receive([asdict(replace(found, context="c", provenance={"clean_gap": 4.0}))])
    terminal = Terminal()
    made.finish()
    made.summarize(terminal, lambda: [], lambda to, fmt: None)
    assert terminal.lines[0] == "[in short]"
    head, _, line, *_ = terminal.lines[1].splitlines()
    assert head.split()[:4] == ["model", "emotion", "gap", "carriers"]
    assert line.split()[:4] == ["one", "joy", "4", "L0H0"]
    assert terminal.lines[-1] == (
        f"next: python -m emolib view --open --profile mine --results-dir {tmp_path / 'out'} "
        "(or report, plots)"
    )


def test_commands_are_as_short_as_they_can_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("report", tmp_path / "results/demo") == "python -m emolib report"
    assert command("view", tmp_path / "my runs/a b") == (
        f"python -m emolib view --profile 'a b' --results-dir '{tmp_path}/my runs'"
    )


def test_fresh_runs_hold_nothing_and_workers_what_they_are_told(tmp_path):
    assert not Writing(config(fresh=True, stored=["k"]), tmp_path).holds("k")
    told = Writing(config(stored=["k"]), tmp_path)
    assert told.holds("k") and not told.holds("l")
