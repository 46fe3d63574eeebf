"""Notebooks of the docs, executed: ``python tests/notebooks.py`` writes their outputs anew."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))
# What a number of a cell's output may differ by from one machine to the next.
_NEAR = 0.02
_NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")
_SOURCES = "text/plain", "text/html"


def read(path: Path) -> Any:
    """Return a notebook as it is on the disk."""
    import nbformat

    return nbformat.read(path, as_version=4)


def executed(path: Path) -> Any:
    """Return a notebook with the outputs of a fresh kernel, without times and numbers of runs."""
    import nbclient

    notebook = read(path)
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        startup_timeout=300,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env={name: os.environ[name] for name in os.environ if "PYTEST" not in name})
    for cell in notebook.cells:
        cell.metadata = {}
        if "outputs" in cell:
            # Warnings of other packages about this machine.
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    return notebook


def differences(stored: Any, fresh: Any) -> list[str]:
    """Return where two executions of a notebook say something else, numbers up to rounding."""
    found = []
    for number, (left, right) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        for was, now in zip(_said(left), _said(right), strict=True):
            if not _alike(was, now):
                found.append(f"cell {number}: {was[:200]!r} became {now[:200]!r}")
    return found


def _said(cell: Any) -> list[str]:
    said = []
    for output in cell.get("outputs", []):
        data = output.get("data", {"text/plain": output.get("text", "")})
        said.append(" ".join([output.output_type, *sorted(data)]))
        said += [data[source] for source in _SOURCES if source in data]
    return said


def _alike(was: str, now: str) -> bool:
    pairs = zip(_NUMBER.findall(was), _NUMBER.findall(now), strict=False)
    near = all(abs(float(a) - float(b)) <= _NEAR * max(1, abs(float(a))) for a, b in pairs)
    return near and _plain(was) == _plain(now)


def _plain(said: str) -> str:
    """Return what was said without numbers, and without colours, which follow them."""
    return re.sub(r"(?<=background: )#\w+|(?<=color: )#\w+", "", _NUMBER.sub("0", said))


if __name__ == "__main__":
    import nbformat

    for path in NOTEBOOKS:
        nbformat.write(executed(path), path)
        print(path, path.stat().st_size)
