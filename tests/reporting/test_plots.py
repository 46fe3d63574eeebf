"""Which plots a results folder gets, and from which files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from made import changed, make_results

from emolib.errors import InputError
from emolib.reporting import plots
from emolib.results.records import Store


def test_draw_makes_every_plot(shaped):
    made = plots.draw(shaped)
    names = {path.name.partition("_one_")[0].partition("_two_")[0] for path in made}
    assert names == {
        "head_reaction_heatmap.png", "top_heads.png", "ablation_sentiment_comparison.png",
        "effect_by_layer.png", "model_comparison.png", "patching_keyword_comparison.png",
        "attention_patterns",
    }  # fmt: skip


def test_plots_are_the_same_each_time(tmp_path):
    made = make_results(tmp_path, models=("one",), emotions=("joy",))
    before = {path: path.read_bytes() for path in plots.draw(made)}
    assert len(before) == 7
    assert {path: path.read_bytes() for path in plots.draw(made)} == before


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


def test_plots_are_drawn_from_the_store_and_from_files_where_there_is_none(tmp_path):
    made = make_results(tmp_path / "made")
    for i, kind in enumerate(("head_ablation", "head_patching")):
        for path in sorted((made / "patching" / kind).iterdir())[i::3]:
            # Files that tell something else than the store does.
            path.write_text(path.read_text("utf-8").replace("joy", "fear"), "utf-8")
    stored = drawn(made)
    for folder in ("patching", "attention"):
        shutil.rmtree(made / folder)
    assert drawn(made) == stored
    files = make_results(tmp_path / "files")
    shutil.rmtree(files / "records")
    assert drawn(files) == stored


def test_files_that_are_named_are_read_in_place_of_the_store(tmp_path):
    made = make_results(tmp_path / "made")
    stored = drawn(made, tmp_path / "stored")
    for kind, plot in (
        ("ablation", "model_comparison.png"), ("patching", "patching_keyword_comparison.png")
    ):  # fmt: skip
        files = sorted((made / f"patching/head_{kind}").iterdir())
        found = drawn(made, tmp_path / kind, **{f"{kind}_files": files})
        assert found == stored
        found = drawn(made, tmp_path / kind, **{f"{kind}_files": files[: len(files) // 2]})
        assert {name for name in found if found[name] != stored[name]} >= {plot}


def test_a_part_of_the_results_is_drawn_as_far_as_it_goes(tmp_path):
    def part(row):
        kept = row["experiment"] == "head_ablation" and row["dims"]["ablation"] != "mean"
        return row if kept else None

    names = [path.name for path in plots.draw(changed(tmp_path, part))]
    assert "patching_keyword_comparison.png" not in names and "effect_by_layer.png" in names


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
