"""Shards as an array of SLURM, told apart from one by commands of its names that run it here."""

from __future__ import annotations

import io
import os
import re
import sys

import pytest

from emolib.errors import InputError
from emolib.launching.command import read_command
from emolib.launching.engines import Needs, engine
from emolib.launching.launch import launch

RUN = ["pytest", "--profile", "small", "-p", "no:cacheprovider"]
# Runs the tasks of an array side by side, each as SLURM would start its script.
SBATCH = """#!/bin/bash
script=$1
cp "$script" "$FAKE/script"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$script")
for i in $(seq 0 "$last"); do
  SLURM_JOB_ID=$((700 + i)) SLURM_ARRAY_JOB_ID=700 SLURM_ARRAY_TASK_ID=$i SLURM_NTASKS=1 \\
    SLURM_PROCID=0 setsid bash "$script" > "$FAKE/$i.out" 2>&1 &
done
echo "Submitted batch job 700"
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do [[ $1 == --output || $1 == --error ]] && shift; shift; done
exec "$@"
"""
SACCT = """#!/bin/bash
echo "JobID|State|NodeList"
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Give a folder of SLURM's commands, first on the path."""
    place = tmp_path / "slurm"
    place.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(place))
    return place


def test_without_submitit_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"--on slurm: needs submitit.*pip install 'emolib\[slurm"):
        engine("slurm", Needs(), tmp_path)


def test_without_slurm_it_says_where_to_go(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--on slurm: no sbatch on this machine: run this on"):
        engine("slurm", Needs(), tmp_path)


def test_what_slurm_refuses_is_told_with_its_reason(cluster, folder):
    pytest.importorskip("submitit")
    (cluster / "sbatch").write_text("#!/bin/bash\necho 'error: invalid partition: gpu' >&2\nexit 1")
    command = read_command(RUN, folder)
    with pytest.raises(InputError, match=r"sbatch refused the array: .*invalid partition: gpu"):
        launch(command, 2, "slurm", Needs(), folder / "logs", io.StringIO())


@pytest.mark.slow
def test_shards_are_the_tasks_of_one_array(cluster, folder, rows_of):
    pytest.importorskip("submitit")
    settings = {"partition": "gpu", "exclusive": "true", "account": "abc"}
    needs = Needs(cpus=2, gpus=1, minutes=90, at_once=2, settings=settings)
    shown = io.StringIO()
    lines = launch(read_command(RUN, folder), 3, "slurm", needs, folder / "logs", shown)
    assert lines == []
    assert shown.getvalue().splitlines()[0].startswith("3 shards on array job 700; logs: ")
    items = [row.item for row in rows_of(folder / "results/small")]
    assert len(items) == len(set(items)) == 8
    head = re.findall(r"^#SBATCH --(.*)$", (cluster / "script").read_text(), re.MULTILINE)
    assert {
        "account=abc", "array=0-2%2", "cpus-per-task=2", "exclusive", "gpus-per-node=1",
        "job-name=emolib", "partition=gpu", "time=90",
    } <= set(head)  # fmt: skip
