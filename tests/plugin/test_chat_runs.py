"""``--chat``: runs of a model with a chat template, and what their rows say and follow from."""

from __future__ import annotations

import json
import shutil

import pytest
from folders import DATA, pairs

TEMPLATE = (
    "{% for m in messages %}{{ m.role }} said: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}She felt{% endif %}"
)
EXPERIMENT = """
def exp_shows(run, prompts, model, record):
    batch = next(prompts.batches(99, 0, "cpu"))
    at = {
        where: [
            model.tokenizer.decode(batch.input_ids[row][batch.at(where)[row]])
            for row in range(len(prompts))
        ]
        for where in ("all", "slot", "last")
    }
    record(prompt=prompts.texts, **at, logit_diff=run().logit_diff, text=run().texts)
"""


@pytest.fixture
def chat(folder):
    """Give a folder whose model has a chat template, with one pair as text and one as turns."""
    made = shutil.copytree(DATA / "models/tiny-neo", folder.path / "mine")
    (made / "chat_template.jinja").write_text(TEMPLATE)
    data = pairs(count=2)
    data["pairs"][1]["prompt"] = {
        "system": "I waited.", "user": data["pairs"][1]["prompt"],
    }  # fmt: skip
    folder.write("data/pairs/gratitude.json", json.dumps(data))
    folder.write("exp_effect.py", EXPERIMENT)
    return folder


def rows_of(folder, *args):
    done = folder.pytest("--model=./mine", "--chat", *args)
    done.stdout.fnmatch_lines(["*gratitude; through the chat template)*", "*1 recorded*"])
    return folder.rows()


def test_rows_show_prompts_as_written_and_positions_in_what_the_template_wrote(chat):
    (row,) = rows_of(chat)
    texts, turns = row["texts"], "I waited.\n\nOmar waited"
    assert texts["prompt"][0].startswith("I waited at the station.")
    assert texts["prompt"][1].startswith(turns)
    assert texts["all"][0] == f"user said: {texts['prompt'][0]}\nShe felt"
    system, user = texts["prompt"][1].split("\n\n")
    assert texts["all"][1] == f"system said: {system}\nuser said: {user}\nShe felt"
    assert [slot.strip() for slot in texts["slot"]] == ["rescued", "rescued"]
    assert texts["last"] == [" felt", " felt"]
    assert row["provenance"]["chat"] is True and row["provenance"]["system"] is None


def test_the_system_turn_decides_the_numbers(chat):
    first = rows_of(chat)[-1]
    again = rows_of(chat)
    assert len(again) == 1, "the stored row stands"
    told = rows_of(chat, "--system", "It was late.")[-1]
    assert told["key"] != first["key"] and told["provenance"]["system"] == "It was late."
    assert told["texts"]["all"][0].startswith("system said: It was late.\nuser said: I waited")
    # The pair's own system turn goes before it.
    assert told["texts"]["all"][1] == first["texts"]["all"][1]
    values = [row["vectors"]["logit_diff"] for row in (first, told)]
    assert values[0][0] != values[1][0] and values[0][1] == pytest.approx(values[1][1], abs=1e-4)


def test_a_plan_counts_what_the_template_writes(chat):
    def gigaflops(*args):
        lines = chat.pytest("--model=./mine", "--plan", "--chat", *args).outlines
        return float(next(line for line in lines if line.startswith("mine")).split()[6])

    longer = gigaflops("--system", "It was late and cold and she waited. " * 2)
    assert longer > 1.05 * gigaflops()
