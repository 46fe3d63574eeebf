"""Which plots a results folder gets, and from which files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from made import around, changed, make_results, rows_of

from emolib.errors import InputError
from emolib.reporting import plots
from emolib.results.records import Store


def test_draw_makes_every_plot(shaped):
    made = plots.draw(shaped)
    names = {path.name.partition("_one_")[0].partition("_two_")[0] for path in made}
    assert names == {
        "head_reaction_heatmap.png", "top_heads.png", "ablation_sentiment_comparison.png",
        "head_effects.png", "effect_by_layer.png", "model_comparison.png",
        "patching_keyword_comparison.png", "attention_patterns",
    }  # fmt: skip


@pytest.mark.slow
def test_plots_are_the_same_each_time(tmp_path):
    made = make_results(tmp_path, models=("one",), emotions=("joy",))
    before = {path: path.read_bytes() for path in plots.draw(made)}
    assert len(before) == 8
    assert {path: path.read_bytes() for path in plots.draw(made)} == before


@pytest.mark.usefixtures("sketched")
def test_one_emotion_alone(shaped, tmp_path):
    assert not any("fear" in path.name for path in plots.draw(shaped, tmp_path, emotion="joy"))
    only = tmp_path / "mine/patching/head_ablation"
    only.mkdir(parents=True)
    source = next((shaped / "patching/head_ablation").iterdir())
    (only / "x.json").write_text(source.read_text("utf-8"), encoding="utf-8")
    with pytest.raises(InputError, match="no results to draw for 'envy'"):
        plots.draw(tmp_path / "mine", emotion="envy")


def drawn(folder, out=None, **options):
    """Draw, and give the bytes of each plot by its name."""
    return {path.name: path.read_bytes() for path in plots.draw(folder, out, **options)}


@pytest.mark.usefixtures("sketched")
def test_plots_are_drawn_from_the_store_and_from_files_where_there_is_none(tmp_path):
    made = make_results(tmp_path / "made", ("one",))
    for i, kind in enumerate(("head_ablation", "head_patching")):
        for path in sorted((made / "patching" / kind).iterdir())[i::3]:
            # Files that tell something else than the store does.
            path.write_text(path.read_text("utf-8").replace("joy", "fear"), "utf-8")
    stored = drawn(made)
    for folder in ("patching", "attention"):
        shutil.rmtree(made / folder)
    assert drawn(made) == stored
    files = make_results(tmp_path / "files", ("one",))
    shutil.rmtree(files / "records")
    assert drawn(files) == stored


@pytest.mark.usefixtures("sketched")
def test_files_that_are_named_are_read_in_place_of_the_store(tmp_path):
    made = make_results(tmp_path / "made", ("one",))
    stored = drawn(made, tmp_path / "stored")
    for kind, plot in (
        ("ablation", "model_comparison.png"), ("patching", "patching_keyword_comparison.png")
    ):  # fmt: skip
        files = sorted((made / f"patching/head_{kind}").iterdir())
        found = drawn(made, tmp_path / kind, **{f"{kind}_files": files})
        assert found == stored
        found = drawn(made, tmp_path / kind, **{f"{kind}_files": files[: len(files) // 2]})
        assert {name for name in found if found[name] != stored[name]} >= {plot}


@pytest.mark.usefixtures("sketched")
def test_a_part_of_the_results_is_drawn_as_far_as_it_goes(tmp_path):
    def part(row):
        kept = row["experiment"] == "head_ablation" and row["dims"]["ablation"] != "mean"
        return row if kept else None

    names = [path.name for path in plots.draw(changed(tmp_path, part))]
    assert "patching_keyword_comparison.png" not in names and "effect_by_layer.png" in names


@pytest.mark.usefixtures("sketched")
def test_of_two_items_with_one_file_the_last_is_drawn(tmp_path):
    """A head that was named, and that a rank stood for in a later run."""
    made = make_results(tmp_path, ("one",), ("joy",))
    stored = drawn(made)
    store = Store(made)
    (row,) = store["exp_x.py::exp_head_ablation[one-joy-L1H0-zero]"]
    values = row.values | {"sentiment": row.values["sentiment"] | {"mean": 0.5}}
    item = row.item.replace("L1H0", "top1")
    store.append([replace(row, item=item, key="top1", time="2027", values=values)])
    store.close()
    found = drawn(made)
    differ = {name for name in stored if stored[name] != found[name]}
    assert differ == {"ablation_sentiment_comparison.png"}


@pytest.mark.usefixtures("sketched")
def test_a_run_that_is_named_is_drawn_and_no_file_of_another(tmp_path):
    made = make_results(tmp_path, ("one",), ("joy",))
    stored = drawn(made)
    store = Store(made)
    (before,) = [run.id for run in store.runs()]
    rows = list(store.whole_rows("head_ablation")) + list(store.whole_rows("head_screening"))
    for row in rows:
        values = {n: v | {"mean": 0.5} if isinstance(v, dict) else v for n, v in row.values.items()}
        store.append([replace(row, key=f"{row.key} again", context="new", values=values)])
    store.close()
    assert drawn(made, run=before) == stored
    found = drawn(made, run=store.run)
    assert found.keys() == stored.keys() - {"patching_keyword_comparison.png"} - {
        name for name in stored if name.startswith("attention")
    }
    assert all(found[name] != stored[name] for name in found)


def test_a_row_that_is_no_effect_on_heads_is_named(tmp_path):
    def without(row):
        if row["experiment"] == "head_ablation":
            del row["dims"]["ablation"]
        return row

    with pytest.raises(InputError, match=r"^exp_x\.py::exp_head_ablation\[.* has no ablation or"):
        plots.draw(changed(tmp_path, without))


@pytest.mark.parametrize(
    ("kind", "style"), [("pdf", "paper"), pytest.param("svg", "screen", marks=pytest.mark.slow)]
)
def test_every_plot_keeps_its_name_in_another_format(tmp_path, kind, style):
    made = make_results(tmp_path, models=("one",), emotions=("joy",), shape=(2, 1))
    paths = plots.draw(made, kind=kind, style=style)
    begin = {"pdf": b"%PDF-", "svg": b"<?xml"}[kind]
    assert len(paths) == 8 and all(path.read_bytes().startswith(begin) for path in paths)
    assert "head_effects" in {path.stem for path in paths}
    assert {path.suffix for path in paths} == {f".{kind}"}


def test_a_format_that_is_unknown_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(InputError, match=r"^--format eps: unknown; expected one of png, pdf, svg"):
        plots.draw(tmp_path, kind="eps")


def stored(folder, rows, path):
    """Add rows to a store as items of their own, with the file they go to."""
    store = Store(folder)
    for row in rows:
        store.append([replace(row, output={"path": path, "shape": "item"}, context="c",
                              time="2026-01-01T00:00:00")])  # fmt: skip
    store.close()
    return folder


@pytest.mark.usefixtures("sketched")
def test_controls_units_and_positions_are_drawn_from_the_store(tmp_path):
    control = {
        "head": "L0H1",
        "other_head": "L0H0",
        "denoise": around(4.0),
        "same_layer": around(0.1),
        "shuffled_labels": around(-0.1),
        "lexical": around(1.0),
    }
    unit = {"spec": "top1", "logit_diff": around(-2.0), "logit_diff_random": around(0.1)}
    confirmed = {
        "kind": "zero",
        "top_effect": around(-3.0),
        "random_effect": around(0.2),
        "n_units": 20,
    }
    patched = [
        {"direction": "denoise", "position": position, "logit_diff": around(3.0), "recovery": 0.5}
        for position in ("last", "slot")
    ]
    for experiment, records, path, dims in (
        ("head_controls", [control], "controls/one_joy.json", {}),
        (
            "unit_ablation",
            [unit],
            "units/unit_ablation/one_joy_L0U3.json",
            {"units": "L0U3", "ablation": "zero"},
        ),
        ("unit_confirmation", [confirmed], "units/unit_confirmation_one_joy.json", {}),
        ("head_patching", patched, "patching/head_patching/one_joy_L0H1.json", {"heads": "L0H1"}),
    ):
        stored(tmp_path, rows_of(experiment, *records, **dims), path)
    assert [path.stem for path in plots.draw(tmp_path)] == [
        "recovery_by_position",
        "controls",
        "unit_effects",
    ]
    texts = (tmp_path / "plots/heads/unit_effects.png").read_text("utf-8")
    assert "top1" in texts and "held out" in texts
    assert plots.draw(tmp_path, emotion="joy") and Store(tmp_path)
    with pytest.raises(InputError, match="no results to draw for 'envy'"):
        plots.draw(tmp_path, emotion="envy")


@pytest.mark.parametrize(
    "path", ["controls/x.json", "units/unit_ablation/x.json", "units/unit_confirmation_x.json"]
)
def test_rows_of_somebody_s_own_that_go_there_are_left_alone(tmp_path, path):
    stored(tmp_path, rows_of("mine", {"logit_diff": around(1.0)}), path)
    with pytest.raises(InputError, match="no results to draw"):
        plots.draw(tmp_path)


@pytest.mark.usefixtures("sketched")
def test_attention_is_of_the_heads_whose_ablation_does_the_most(tmp_path):
    """Of L1H0, whatever heads look at the slot."""
    made = make_results(tmp_path, ("one",), ("joy",))
    names = {path.name for path in plots.draw(made) if path.parent.name == "attention"}
    assert names == {"attention_patterns_one_joy_L1H0.png"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"provenance": {}, "prompts": []}'])
def test_a_damaged_file_of_an_item_is_named(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    message = rf"^{re.escape(str(path))}: not a results file of an item \("
    with pytest.raises(InputError, match=message):
        plots.draw(tmp_path, ablation_files=[path])


def test_it_is_a_module_to_run(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "emolib", "plots"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("ERROR: results/demo: no results")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row | {"provenance": {}}, r"head_screening.*: what goes to .*head_scores_one"
         r".*drawn as scores of heads, and this has a model of None layers of None heads"),
        (lambda row: row | {"lists": {}}, "attention_patterns.*: has no attention to draw"),
    ],
    ids=["no shape", "no tokens"],
)  # fmt: skip
def test_rows_that_nothing_can_be_drawn_of_are_named(tmp_path, sketched, change, message):
    with pytest.raises(InputError, match=message):
        plots.draw(changed(tmp_path, change))
