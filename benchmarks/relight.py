"""Relight against Cycles: is it the same picture, and what does it cost?

Pictures (`relight_cases`) are held against Cycles with 1024 paths per pixel, no denoiser, the same bounces and matte
surfaces (`relight_references`; hours of one core, once), and against the materials that the files ask for. Costs are
core-seconds: in one process by step, and of the whole tree of processes through the command line. Machines are shared
and noisy: read ratios within one run. Exit status 1 when an aim is missed.

    .venv/bin/python benchmarks/relight.py --scans demo/assets/scans --html demo/relight.html
    .venv/bin/python benchmarks/relight.py --scans demo/assets/scans --stage run --n 2000 --out demo/many

Next: `relight_ours` renders and times, `relight_cli` runs commands, `relight_page` shows pieces to the eye.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

# BLAS threads that wait by spinning are charged as CPU time: set before numpy comes, here and so in every process.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
from relight_cases import load_relight_cases
from relight_cli import measure_further, report_further, run_long
from relight_ours import LOADING, STEPS, Relit, Traced, measure_relight, measure_traced
from relight_page import write_page
from relight_references import HALF_SPP, PARTS, Reference, kept_cases, make_references
from render import Aim, print_verdicts
from render_cases import Case, in_processes, say
from render_naive import Naive, measure_naive, spp_for

from synth.scans import default_cache

#: Aims: PSNR on the subject, core-seconds of a further sample through the command line, the naive loop over ours.
_MEDIAN_DB, _LEAST_DB, _MOST_S, _LEAST_RATIO = 38.0, 33.0, 0.4, 25.0


def main() -> None:
    """Prints the tables and the verdicts of a stage, or of all."""
    args = _arguments()
    size = args.width, args.height
    if args.stage == "run":
        sys.exit(0 if run_long(args.scans, args.out, args.n, args.workers, size, args.engine) else 1)
    aims: list[Aim] = []
    if args.stage in ("references", "pictures", "all"):
        aims += _measure_pictures(args, size)
    if args.stage in ("cli", "all"):
        with tempfile.TemporaryDirectory(prefix="relight-") as folder:
            further = measure_further(args.scans, Path(folder), size, args.engine)
        report_further(further, args.engine)
        aims.append(("core-seconds of a further sample, driver and worker", further.ours, _MOST_S, False))
    sys.exit(0 if print_verdicts(aims) else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=Path, required=True, nargs=1, help="the demo scans' folder")
    parser.add_argument("--further", type=Path, nargs="*", default=[], help="folders of scans that become cases too")
    parser.add_argument("--pick", nargs="*", default=[], metavar="SCAN", help="of them only these")
    parser.add_argument("--skies", type=Path, help="a folder of panoramas that light them; default: Blender's own")
    parser.add_argument("--stage", choices=["all", "references", "pictures", "cli", "run"], default="all")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--references", type=Path, default=default_cache() / "benchmark", help="where they are kept")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="of the references, only these")
    parser.add_argument("--only-kept", action="store_true", help="only cases whose references are there")
    parser.add_argument("--quick", action="store_true", help="relight alone: no naive loop, no Cycles of ours")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--html", type=Path, help="write a page of crops")
    parser.add_argument("--engine", default="relight", help="of the stages cli and run")
    parser.add_argument("--n", type=int, default=2000, help="samples of stage run")
    parser.add_argument("--workers", type=int, default=2, help="of stage run")
    parser.add_argument("--out", type=Path, default=Path("demo/many"), help="dataset of stage run")
    args = parser.parse_args()
    args.scans = [path.absolute() for path in args.scans]
    return args


def _measure_pictures(args: argparse.Namespace, size: tuple[int, int]) -> list[Aim]:
    stage, cases, _ = load_relight_cases(args.scans[0], args.further, args.pick, args.skies, size)
    if args.only_kept:
        cases = kept_cases(cases, args.references, args.parts)
    references = make_references(stage, cases, args.references, args.processes, args.parts)
    if args.stage == "references":
        return []
    print(f"{len(cases)} cases, {size[0]} x {size[1]}, reference {2 * HALF_SPP} spp", flush=True)
    relit = in_processes(measure_relight, stage, cases, args.processes, [case.recipe for case in cases])
    traced = None if args.quick else in_processes(measure_traced, stage, cases, args.processes)
    aims = _report_quality(cases, relit, traced, references)
    _report_steps(relit)
    if args.html is not None:
        write_page(args.html, cases, relit, references)
        say(f"page: {args.html}")
    if traced is not None:
        naive = in_processes(measure_naive, stage, cases, args.processes, frozenset(), -1, False)
        aims += _report_ratio(cases, relit, traced, naive, references)
    return aims


def _report_quality(
    cases: list[Case], relit: list[Relit], traced: list[Traced] | None, references: list[Reference]
) -> list[Aim]:
    print("\nOn the subject: PSNR, dB, against all paths in twelve windows, what the reference's own noise allows,")
    print("and free of that noise; free of noise over the whole subject, over its rim, and against authored materials;")
    print("mean FLIP in the crop, and that of one half of the reference against the other; our Cycles, default preset")
    seen = [(reference, made.rgb) for reference, made in zip(references, relit, strict=True)]
    flip = [reference.flip(rgb) for reference, rgb in seen]
    columns = {
        "1024 spp": [reference.score(rgb) for reference, rgb in seen],
        "noise": [reference.noise_db() for reference in references],
        "free": [reference.clean_score(rgb) for reference, rgb in seen],
        "whole": [reference.clean_db(rgb) for reference, rgb in seen],
        "rim": [reference.rim_db(rgb) for reference, rgb in seen],
        "authored": [reference.authored_db(rgb) for reference, rgb in seen],
        "-FLIP": [-error for error, _ in flip],
        "-halves": [-error for _, error in flip],
    }
    if traced is not None:
        both = list(zip(references, traced, strict=True))
        columns["Cycles"] = [reference.score(made.rgb) for reference, made in both]
        columns["its rim"] = [reference.rim_db(made.rgb) for reference, made in both]
    _print_columns([case.name for case in cases], {name: of for name, of in columns.items() if not np.isnan(of).all()})
    decibels = columns["1024 spp"]
    return [
        ("median PSNR on the subject, dB", float(np.median(decibels)), _MEDIAN_DB, True),
        ("least PSNR on the subject, dB", min(decibels), _LEAST_DB, True),
    ]


def _print_columns(names: list[str], columns: dict[str, list[float]]) -> None:
    """More is better in all of them."""
    table = np.array(list(columns.values()))
    print(f"{'':<44}" + "".join(f"{name:>10}" for name in columns))
    rows = [*zip(names, table.T, strict=True), ("median", np.median(table, axis=1)), ("worst", table.min(axis=1))]
    for name, row in rows:
        cells = [f"{value:>10.{1 if abs(value) > 1 else 4}f}" for value in row]
        print(f"{name:<44}" + "".join(cells), flush=True)


def _report_steps(relit: list[Relit]) -> None:
    totals = np.array([one.total for one in relit])
    print("\nWhere a further sample's core-seconds go, medians over the cases")
    for step in (*STEPS, *LOADING):
        row = np.array([one.seconds[step] for one in relit])
        if row.max() > 0:
            print(f"{step:<30}{np.median(row):>8.3f} s {np.median(row / totals):>7.1%}")
    print(f"{'all':<30}{np.median(totals):>8.3f} s; least {totals.min():.3f}, most {totals.max():.3f}")
    print(f"{'with another background':<30}{np.median([one.new_background for one in relit]):>8.3f} s more")
    print(f"{'with another scan':<30}{np.median([one.new_scan for one in relit]):>8.3f} s more")
    costs = [one.transport for one in relit]
    sizes = [one.transport_bytes / 1e6 for one in relit]
    print(f"{'transport, once a scan':<30}{np.median(costs):>8.2f} s; most {max(costs):.2f}; ", end="")
    print(f"{np.median(sizes):.0f} MB, at most {max(sizes):.0f}", flush=True)


def _report_ratio(
    cases: list[Case], relit: list[Relit], traced: list[Traced], naive: list[Naive], references: list[Reference]
) -> list[Aim]:
    print("\nCore-seconds: relight; our Cycles, times relight; the naive loop at relight's PSNR (its paths), times it")
    rows = []
    for case, made, ours, loop, reference in zip(cases, relit, traced, naive, references, strict=True):
        spp = spp_for(reference.score(made.rgb), reference)
        costs = made.total, ours.seconds, loop.seconds(spp)
        rows.append([costs[1] / costs[0], costs[2] / costs[0]])
        print(f"{case.name:<44}{costs[0]:>8.2f}{costs[1]:>8.2f}{rows[-1][0]:>8.1f}", end="")
        print(f"{costs[2]:>10.1f} ({spp:>5.0f}){rows[-1][1]:>8.1f}")
    middle, least = np.median(rows, axis=0), np.min(rows, axis=0)
    print(f"{'median':<60}{middle[0]:>8.1f}{'':>18}{middle[1]:>8.1f}")
    print(f"{'least':<60}{least[0]:>8.1f}{'':>18}{least[1]:>8.1f}", flush=True)
    return [("naive core-seconds over relight's at equal PSNR, median", float(middle[1]), _LEAST_RATIO, True)]


if __name__ == "__main__":
    main()
