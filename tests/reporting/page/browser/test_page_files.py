"""Pictures and data of the page, saved as files from a real browser."""

from __future__ import annotations

import csv
import io
import re
import struct
from xml.etree import ElementTree

import pytest

SVG = "{http://www.w3.org/2000/svg}"


def saved(page, place, kind):
    """Press the button of a kind in a place and give the file's name and bytes."""
    with page.expect_download() as download:
        page.locator(place).get_by_role("button", name=kind).first.click()
    file = download.value
    return file.suggested_filename, file.path().read_bytes()


@pytest.mark.parametrize(
    ("place", "marks"),
    [
        ("#explore", "rect"),
        ("#head figure", "path"),
        (".attention ~ .saves", "rect"),
        ("#circuits", "circle"),
        ("#paths", "rect"),
    ],
)
def test_a_picture_is_saved_as_svg_and_png(look, whole, place, marks):
    # In the dark too: what is saved is for print.
    with look(whole, "#one/joy/L1H0", color_scheme="dark") as seen:
        page = seen.page
        page.locator(place).first.scroll_into_view_if_needed()
        name, content = saved(page, place, "SVG")
        assert name.endswith(".svg") and name.count(".") == 1
        root = ElementTree.fromstring(content)
        assert root.tag == f"{SVG}svg" and root[0].get("fill") == "#ffffff"
        assert len(root.findall(f".//{SVG}{marks}")) > 3
        texts = root.findall(f".//{SVG}text")
        assert texts and all(text.get("fill").startswith("rgb(") for text in texts)
        # Nothing but attributes: no style sheet goes along, no class, no script.
        assert b"class=" not in content and b"<style" not in content and b"style=" not in content
        darkest = [int(part) for part in texts[0].get("fill")[4:-1].split(",")]
        assert max(darkest) < 128
        name, content = saved(page, place, "PNG")
        assert name.endswith(".png") and content.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", content[16:24])
        assert width == round(3 * float(root.get("width"))) and height > 300
        # Not all of it is white.
        assert len(content) > 3000
        assert seen.quiet()


def test_data_are_saved_as_csv(look, whole):
    with look(whole, "#one/joy/L1H0") as seen:
        page = seen.page
        name, content = saved(page, "#explore", "CSV")
        assert name == "one_joy_head_ablation_zero_logit_diff.csv"
        lines = list(csv.DictReader(io.StringIO(content.decode())))
        assert [(line["layer"], line["head"]) for line in lines] == [
            ("0", "0"), ("0", "1"), ("1", "0"), ("1", "1"),
        ]  # fmt: skip
        assert float(lines[2]["mean"]) < -1.5 and float(lines[2]["high"]) < 0
        _, content = saved(page, "#head figure", "CSV")
        pairs = list(csv.DictReader(io.StringIO(content.decode())))
        assert len(pairs) == 24 and pairs[0]["template"] == "t0"
        _, content = saved(page, "#findings .saves", "CSV")
        lines = list(csv.DictReader(io.StringIO(content.decode())))
        assert [line["strongest"] for line in lines] == ["L1H0"] * 4
        (effect,) = [name for name in lines[0] if name.startswith("its effect") and "," not in name]
        assert float(lines[0][effect]) < -1.5
        assert re.fullmatch(r"−\S+ \[−\S+, −\S+\]", lines[0][f"{effect}, interval"])
        _, content = saved(page, ".attention ~ .saves", "CSV")
        words = list(csv.DictReader(io.StringIO(content.decode())))
        assert [word["in_slot"] for word in words[:4]] == ["0", "1", "1", "0"]
        assert [float(word["attention"]) for word in words[:4]] == [0.1, 0.2, 0.3, 0.4]
        assert seen.quiet()
