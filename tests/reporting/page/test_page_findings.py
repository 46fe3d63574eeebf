"""The first screen: findings with links."""

from __future__ import annotations

from emolib.reporting.findings import findings
from emolib.reporting.page.page_findings import found_in
from emolib.results.records import Store


def test_it_tells_the_findings_word_for_word_with_links_to_heads(full):
    store = Store(full)
    told, page = findings(store), found_in(store)
    for sentences, expected in ((page.found, told.found), (page.not_found, told.not_found)):
        assert ["".join(part.text for part in s.parts) for s in sentences] == [
            one.text for one in expected
        ]
    links = {part.href for s in page.found for part in s.parts if part.href}
    assert {f"#{model}/{emotion}/L1H0" for model in ("one", "two")
            for emotion in ("joy", "fear")} <= links  # fmt: skip


def test_in_short_has_a_line_a_study(full):
    table = found_in(Store(full), emotion="joy").in_short
    names = [column.title for column in table.columns]
    lines = [dict(zip(names, row, strict=True)) for row in table.rows]
    assert [line["model"].text for line in lines] == ["one", "two"]
    assert lines[0]["strongest"].parts[0].href == "#one/joy/L1H0"
