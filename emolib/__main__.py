"""``python -m emolib``: what can be done with results after a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from emolib.errors import InputError
from emolib.files import results_folder
from emolib.launching.options import add_options as add_launch_options
from emolib.reporting.export import FORMATS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code, 2 for wrong input as argparse does."""
    options = _parser().parse_args(arguments)
    try:
        code: int | None = options.run(
            options, results_folder(options.results_dir, options.profile)
        )
    except InputError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m emolib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument("--profile", default="demo", help="whose results (default: demo)")
    every.add_argument("--results-dir", type=Path, default=Path("results"))
    every.add_argument("--output-dir", type=Path, help="default: a folder beside the results")
    scores = argparse.ArgumentParser(add_help=False)
    scores.add_argument(
        "--head-scores", type=Path, action="append", default=[], help="a scores file; repeatable"
    )
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--emotion", help="this emotion alone")
    chosen.add_argument("--top-n", type=_positive, default=10, help="heads shown (default: 10)")

    history = argparse.ArgumentParser(add_help=False)
    history.add_argument(
        "--run", dest="of_run", metavar="ID", help="what this run recorded or took from the store, "
        "by how its id begins; default: all that ran under the last settings",
    )  # fmt: skip

    plots = commands.add_parser(
        "plots", parents=[every, scores, chosen, history], help="draw the results"
    )
    for name in ("--ablation-file", "--patching-file"):
        plots.add_argument(
            name, type=Path, action="append", default=[], help="a results file; repeatable"
        )
    plots.add_argument("--score", default="atp_ig", help="which score (default: atp_ig)")
    plots.set_defaults(run=_plots)
    report = commands.add_parser(
        "report", parents=[every, chosen, history], help="write the report"
    )
    report.set_defaults(run=_report)
    compare = commands.add_parser(
        "compare", parents=[every, scores], help="put models side by side in a table"
    )
    compare.set_defaults(run=_compare)
    export = commands.add_parser(
        "export",
        parents=[every, history],
        help="write frames for other tools, or a run's results files",
    )
    export.add_argument("--format", choices=FORMATS, default="csv", help="default: csv")
    export.add_argument("--experiment", help="this one alone, as in head_ablation")
    export.set_defaults(run=_export)
    runs = commands.add_parser("runs", parents=[every], help="list what was run, and when")
    runs.set_defaults(run=_runs)
    pack = commands.add_parser("pack", parents=[every], help="make the records smaller, with gzip")
    pack.set_defaults(run=_pack)
    models = commands.add_parser(
        "models", parents=[every], help="verify every architecture, or one model"
    )
    models.add_argument("model", nargs="?", help="verify this model; default: every architecture")
    models.add_argument("--write", type=Path, metavar="FILE", help="write the page, Markdown")
    models.set_defaults(run=_models)
    merged = commands.add_parser("merge", help="join the results of shards, or of several folders")
    merged.add_argument(
        "places", type=Path, nargs="*", metavar="DIR",
        help="a results folder to bring over; none where all shards wrote into one",
    )  # fmt: skip
    merged.add_argument("--profile", default="demo", help="whose results (default: demo)")
    merged.add_argument(
        "--into", type=Path, dest="results_dir", default=Path("results"), metavar="DIR",
        help="the results folder where all is to be (default: results)",
    )  # fmt: skip
    merged.add_argument(
        "--mixed", action="store_true", help="even where they stand on different things"
    )
    merged.set_defaults(run=_merge)
    started = commands.add_parser("launch", help="run shards on an engine, then join them")
    add_launch_options(started)
    started.set_defaults(run=_launch, results_dir=Path(), profile="")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def _plots(options: argparse.Namespace, results: Path) -> None:
    from emolib.reporting.plots import draw

    made = draw(
        results,
        options.output_dir,
        head_scores=options.head_scores,
        ablation_files=options.ablation_file,
        patching_files=options.patching_file,
        emotion=options.emotion,
        top_n=options.top_n,
        score=options.score,
        run=options.of_run,
    )
    print(*made, sep="\n")


def _report(options: argparse.Namespace, results: Path) -> None:
    from emolib.reporting.report import write_report

    asked = {"emotion": options.emotion, "top_n": options.top_n, "run": options.of_run}
    print(write_report(results, options.output_dir, **asked))


def _compare(options: argparse.Namespace, results: Path) -> None:
    from emolib.reporting.comparison import compare, overlap, write_comparison
    from emolib.reporting.experiments import ABLATED, PATCHED
    from emolib.reporting.markdown import plain_table
    from emolib.results.abridged import abridged
    from emolib.results.item_files import read_scores
    from emolib.results.records import Store

    store = Store(results)
    of = ("logit_diff",)
    ablated = list(abridged(store.whole_rows(ABLATED), of, of))
    lines = compare(ablated, list(abridged(store.rows(PATCHED), summaries=of)))
    files = options.head_scores or sorted((results / "alignment").glob("head_scores_*.json"))
    ranks = overlap([read_scores(path) for path in files])
    if not lines and not ranks:
        raise InputError(
            f"{results}: nothing to compare; run `pytest experiments` first, or name scores files "
            "of two models of one shape with --head-scores"
        )
    print(*(plain_table(table) for table in (lines, ranks) if table), sep="\n\n", end="\n\n")
    print(*write_comparison(lines, ranks, options.output_dir or results / "tables"), sep="\n")


def _export(options: argparse.Namespace, results: Path) -> None:
    from emolib.reporting.export import write_export

    asked = {"experiment": options.experiment, "run": options.of_run}
    made = write_export(results, options.format, options.output_dir, **asked)
    if options.format == "files":
        print(f"{len(made)} files in {options.output_dir or results}")
    else:
        print(*made, sep="\n")


def _runs(_: argparse.Namespace, results: Path) -> None:
    from emolib.reporting.markdown import plain_table
    from emolib.reporting.runs import runs

    print(plain_table(runs(results)))


def _pack(_: argparse.Namespace, results: Path) -> None:
    from emolib.reporting.markdown import plain_table
    from emolib.results.packing import pack
    from emolib.results.segments import segments

    found = list(pack(results))
    if not found:
        print(f"nothing to pack: {len(segments(results))} segments are packed already")
        return
    lines = [
        {"segment": one.name, "MB": one.before / 1e6, "packed": one.why_not or one.after / 1e6}
        for one in found
    ]
    print(plain_table(lines), end="\n\n")
    packed = [one for one in found if not one.why_not]
    before, after = sum(one.before for one in packed), sum(one.after for one in packed)
    print(f"{len(packed)} segments packed: {before / 1e6:.1f} MB are {after / 1e6:.1f} MB now")


def _models(options: argparse.Namespace, _: Path) -> None:
    from emolib.methods.verification import HEADERS, verify, verify_types, write_page
    from emolib.reporting.markdown import plain_table

    if options.model is None:
        found = list(verify_types())
        if options.write:
            print(write_page(options.write, found))
            return
        lines = [dict(zip(HEADERS, one.cells(), strict=True)) for one in found]
        print(plain_table(lines))
        counts = [sum(one.runs == kind for one in found) for kind in ("refused", "not built")]
        print(f"{len(found) - sum(counts)} supported, {counts[0]} refused, {counts[1]} not built")
        return
    if options.write:
        raise InputError("--write: the page is of every architecture; leave the model out")
    from emolib.inputs.profiles import load_profile
    from emolib.models.architectures import register_all
    from emolib.models.loading import load
    from emolib.models.sources import find

    register_all(load_profile(options.profile).architectures)
    one = verify(load(find(options.model)))
    print(f"{one.name}: {one.runs}{f' ({one.reason})' if one.reason else ''}", one.row, sep="\n")
    print(*(f"{'ok ' if proof.holds else 'no '} {proof}" for proof in one.proofs), sep="\n")
    print(f"heads: {one.heads}", f"units: {one.units}", f"dla: {one.dla}", sep="\n")


def _merge(options: argparse.Namespace, results: Path) -> None:
    from emolib.reporting.merge import merge

    lines = merge(options.places, results, options.profile, mixed=options.mixed)
    print(*lines, sep="\n")


def _launch(options: argparse.Namespace, _: Path) -> int:
    from emolib.launching.options import run

    command, lines = run(options)
    if lines is None:
        print(f"when it is done: {command.merge}")
        return 0
    print(*lines, sep="\n", end="\n" * bool(lines))
    from emolib.reporting.merge import merge

    print(*merge([], command.results, command.profile, mixed=False), sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
