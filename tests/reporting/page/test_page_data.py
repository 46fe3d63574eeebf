"""What the scripts read: of one form, and all that it refers to is there."""

from __future__ import annotations

import json

from emolib.reporting.page.page_blobs import unpack
from emolib.reporting.page.page_data import PageData


def test_all_that_the_data_refers_to_is_there(parts):
    data = PageData(parts)
    told = json.loads(json.dumps(data.told(), allow_nan=False))
    ids = [score["id"] for score in told["scores"]]
    assert len(ids) == len(set(ids)) and told["default_score"] in ids
    for study in told["studies"]:
        blob = unpack(data.blobs[study["blob"]])
        assert set(blob["maps"]) <= set(ids) and len(blob["pairs"]) == study["n"] == 24
        sizes = {len(column) for found in blob["maps"].values() for column in found.values()}
        assert sizes == {study["layers"] * study["heads"]}
    for view in ("circuits", "paths", "steering", "units"):
        for one in told[view]:
            study = told["studies"][one["study"]]
            assert (one["model"], one["emotion"]) == (study["model"], study["emotion"])
    assert all(one["blob"] in data.blobs for one in told["steering"])


def test_scores_say_how_they_are_to_be_drawn(parts):
    scores = {score["id"]: score for score in PageData(parts).told()["scores"]}
    effect = scores["head_ablation/zero/logit_diff"]
    assert effect["signed"] and effect["limit"] > 1.5
    assert (effect["base"], effect["level"]) == (0, 0.05)
    probe = scores["head_probe/accuracy"]
    assert not probe["signed"] and (probe["base"], probe["limit"]) == (0.5, 0.75)
    assert probe["group"] == "Probes" and effect["what"] and effect["unit"] == "logits"
