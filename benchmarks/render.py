"""What a sample costs, how good its colour is, and what the loop that one would write first costs for the same.

12 pictures (`render_cases`), every preset. Costs are core-seconds (CPU time of the process, all its threads), scan and
background loaded before unless said otherwise; two processes of one thread keep two cores busy, as a run of two workers
does. Quality is PSNR in sRGB over the subject's pixels against many paths without denoiser (`render_references`).
Machines are shared and noisy: read ratios within one run. Exit status 1 when an aim is missed.

    .venv/bin/python benchmarks/render.py --scans demo/assets/scans --html demo/benchmark.html

Next: `render_ours` times our renderer, `render_naive` is the other loop, `render_candidates` other settings,
`render_workers` a second worker, `render_page` pieces of pictures for the eye.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

# BLAS threads that wait by spinning are charged as CPU time: set before numpy comes, here and so in every process.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import bpy
import numpy as np
from render_candidates import measure_animation, measure_candidates, print_animation, print_candidates
from render_cases import Case, Stage, in_processes, load_cases, say
from render_naive import (
    ADAPTIVE_SPP,
    CHECK_SPP,
    DENOISED_SPP,
    Naive,
    denoised_seconds_for,
    measure_naive,
    spp_for,
)
from render_ours import Ours, measure_ours
from render_page import write_page
from render_references import NAIVE_SPP, Reference, make_references
from render_workers import measure_second_worker

from synth.config import PRESETS
from synth.randomize import Library
from synth.scans import default_cache

#: What did not work, a line each, printed at the end.
NOTES: tuple[str, ...] = (
    "\nTried and left out, besides the candidates above: the albedo read off the texture at pixel centres instead of",
    "the paths' own (helps some scans, hurts others), exact coverage at rims (hardly seen), normals as a guide for the",
    "light's denoiser (help untextured relief, hurt thin limbs).",
)
#: Cases on which candidates are compared, on which Blender's denoiser runs, and on which the naive line is checked.
_CANDIDATE_CASES, _DENOISED_CASES, _CHECKED_CASE = (4, 8), frozenset({0, 7, 8}), 5
#: The order of the stages in a sample.
_STAGES = ("labels", "denoiser", "background, film", "encode", "check", "write", "the rest")
#: Aims: least PSNR of the default, least ratio, greatest shares, least gain.
_LEAST_DB, _LEAST_RATIO, _MOST_OTHER, _MOST_LABELS, _LEAST_GAIN = 40.0, 4.0, 0.12, 0.05, 1.9

#: (aim, found, bound, whether more is better)
Aim = tuple[str, float, float, bool]


def main() -> None:
    """Prints the tables and the verdicts."""
    args = _arguments()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="render-") as folder:
        scratch = Path(folder)
        scans = [path.absolute() for path in args.scans]
        stage, cases, library = load_cases(scans, scratch / "untextured", (args.width, args.height))
        cases = cases[: args.cases]
        references = make_references(
            stage, cases, args.references, args.reference_spp, args.html is not None, args.processes
        )
        print(f"{len(cases)} cases, {args.width} x {args.height}, reference {args.reference_spp} spp, ", end="")
        print(f"Blender {bpy.app.version_string}, {args.processes} processes of one thread", flush=True)
        aims = _measure_cases(stage, cases, references, args)
        if not args.no_workers:
            small = Stage(stage.scan_store, stage.background_store, args.width // 2, args.height // 2)
            aims.append(_report_workers(small, library, args.images, scratch))
    for note in NOTES:
        print(note)
    say(f"all of it: {time.monotonic() - started:.0f} s")
    sys.exit(0 if print_verdicts(aims) else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--scans", type=Path, required=True, nargs="+", help="the demo scans' folder; scans of others become cases too"
    )
    parser.add_argument("--cases", type=int, help="only so many of them")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--references", type=Path, default=default_cache() / "benchmark", help="where they are kept")
    parser.add_argument("--reference-spp", type=int, default=2048)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--images", type=int, default=40, help="of the runs of one and two workers, at half the size")
    parser.add_argument("--html", type=Path, help="write a page of crops; its references take minutes, once")
    parser.add_argument("--quick", action="store_true", help="without candidates and adaptive sampling")
    parser.add_argument("--no-workers", action="store_true", help="without the runs of one and two workers")
    return parser.parse_args()


def _measure_cases(stage: Stage, cases: list[Case], references: list[Reference], args: argparse.Namespace) -> list[Aim]:
    skies = [case.recipe for case in cases]
    ours = in_processes(measure_ours, stage, cases, args.processes, skies)
    aims = _report_quality(cases, ours, references)
    aims += _report_split(ours)
    if args.html is not None:
        write_page(args.html, cases, ours, references)
        say(f"page: {args.html}")
    checked = min(_CHECKED_CASE, len(cases) - 1)
    naive = in_processes(measure_naive, stage, cases, args.processes, _DENOISED_CASES, checked, not args.quick)
    aims += _report_ratio(cases, ours, naive, references)
    _report_naive_check(cases[checked], naive[checked])
    if not args.quick:
        chosen = [case for case in cases if case.number in _CANDIDATE_CASES]
        known = {case.number: references[case.number] for case in chosen}
        print_candidates(in_processes(measure_candidates, stage, chosen, args.processes, known))
        print_animation(in_processes(measure_animation, stage, chosen, args.processes))
    return aims


def _report_quality(cases: list[Case], ours: list[Ours], references: list[Reference]) -> list[Aim]:
    print("\nPSNR, dB, and core-seconds of a sample, from recipe to staged file")
    print(f"{'':<34}" + "".join(f"{preset:>18}" for preset in PRESETS) + f"{'8 spp as traced':>18}")
    decibels = np.array(
        [[reference.score(one.rgb[p]) for p in PRESETS] for one, reference in zip(ours, references, strict=True)]
    )
    seconds = np.array([[one.total(p) for p in PRESETS] for one in ours])
    traced = np.array([reference.naive_db()[NAIVE_SPP.index(8)] for reference in references])
    for case, row, costs, noisy in zip(cases, decibels, seconds, traced, strict=True):
        print(f"{case.name:<34}" + "".join(f"{db:>9.1f}{s:>7.2f} s" for db, s in zip(row, costs, strict=True)), end="")
        print(f"{noisy:>18.1f}")
    middle = zip(np.median(decibels, axis=0), np.median(seconds, axis=0), strict=True)
    print(f"{'median':<34}" + "".join(f"{db:>9.1f}{s:>7.2f} s" for db, s in middle) + f"{np.median(traced):>18.1f}")
    print(f"{'least':<34}" + "".join(f"{db:>9.1f}{'':>9}" for db in decibels.min(axis=0)), end="")
    print(f"{traced.min():>18.1f}", flush=True)
    default = float(np.median(decibels[:, list(PRESETS).index("default")]))
    return [("default: median PSNR, dB", default, _LEAST_DB, True)]


def _report_split(ours: list[Ours]) -> list[Aim]:
    rows = {"Cycles: scene and passes": [(one.sync_s, one.total("default")) for one in ours]}
    rows["Cycles: paths"] = [(one.seconds["default"]["Cycles"] - one.sync_s, one.total("default")) for one in ours]
    for name in _STAGES:
        rows[name] = [(one.seconds["default"].get(name, 0.0), one.total("default")) for one in ours]
    print("\nWhere a sample's core-seconds go, default preset, medians over the cases")
    for name, row in rows.items():
        shares = [used / total for used, total in row]
        print(f"{name:<30} {np.median([used for used, _ in row]):>7.3f} s {np.median(shares):>7.1%}")
    totals = np.array([one.total("default") for one in ours])
    background = np.array([one.background_use["total"] for one in ours])
    print(f"{'all':<30} {np.median(totals):>7.3f} s")
    _report_loading(ours)
    print(f"samples per core-hour: {3600 / totals.mean():.0f}; with a new background for each: ", end="")
    print(f"{3600 / (totals + background).mean():.0f}", flush=True)
    other = [
        1 - (one.seconds["default"]["Cycles"] + one.seconds["default"].get("denoiser", 0)) / one.total("default")
        for one in ours
    ]
    labels = [one.seconds["default"]["labels"] / one.total("default") for one in ours]
    return [
        ("share of all that is not Cycles or denoiser", float(np.median(other)), _MOST_OTHER, False),
        ("share of labels", float(np.median(labels)), _MOST_LABELS, False),
    ]


def _report_loading(ours: list[Ours]) -> None:
    print("more for the first sample with (not in the split above):")
    backgrounds = [one.background_use for one in ours]
    print(f"  another background: {np.median([use['total'] for use in backgrounds]):.2f} core-s, of them ", end="")
    print(f"{np.median([use['load background'] for use in backgrounds]):.2f} our loading")
    scans = [one.first_use for one in ours if one.scan_loaded]
    print(f"  another scan and background: {np.median([use['total'] for use in scans]):.2f} core-s, of them ", end="")
    print(f"{np.median([use['load scan'] + use['load background'] for use in scans]):.2f} our loading")


def _report_ratio(cases: list[Case], ours: list[Ours], naive: list[Naive], references: list[Reference]) -> list[Aim]:
    print("\nThe naive loop's core-seconds over ours at equal PSNR (and its paths per pixel)")
    print(f"{'':<34}" + "".join(f"{preset:>18}" for preset in PRESETS))
    ratios = []
    for case, one, loop, reference in zip(cases, ours, naive, references, strict=True):
        spp = [spp_for(reference.score(one.rgb[preset]), reference) for preset in PRESETS]
        ratios.append([loop.seconds(n) / one.total(preset) for n, preset in zip(spp, PRESETS, strict=True)])
        print(f"{case.name:<34}" + "".join(f"{r:>9.1f} ({n:>6.0f})" for r, n in zip(ratios[-1], spp, strict=True)))
    for name, of in (("median", np.median), ("least", np.min)):
        print(f"{name:<34}" + "".join(f"{ratio:>9.1f}{'':>9}" for ratio in of(ratios, axis=0)))
    _report_denoised_ratio(cases, ours, naive, references)
    default = float(np.median(ratios, axis=0)[list(PRESETS).index("default")])
    return [("naive core-seconds over ours at equal PSNR, default, median", default, _LEAST_RATIO, True)]


def _report_denoised_ratio(
    cases: list[Case], ours: list[Ours], naive: list[Naive], references: list[Reference]
) -> None:
    print(f"\nThe same with Blender's denoiser, measured at {DENOISED_SPP[0]} and {DENOISED_SPP[1]} spp ", end="")
    print("('<', '>': less or more than that, for it was better at the one or worse at the other)")
    ratios = []
    for case, one, loop, reference in zip(cases, ours, naive, references, strict=True):
        if not loop.denoised:
            continue
        row = []
        for preset in PRESETS:
            seconds, bound = denoised_seconds_for(reference.score(one.rgb[preset]), loop, reference)
            row.append((seconds / one.total(preset), bound))
        ratios.append([ratio for ratio, _ in row])
        print(f"{case.name:<34}" + "".join(f"{bound:>8}{ratio:<10.1f}" for ratio, bound in row), end="")
        print("  it: " + ", ".join(f"{reference.score(rgb):.1f} dB {s:.1f} s" for s, rgb in loop.denoised))
    for name, of in (("median", np.median), ("least", np.min)):
        print(f"{name:<34}" + "".join(f"{'':>8}{ratio:<10.1f}" for ratio in of(ratios, axis=0)), flush=True)


def _report_naive_check(case: Case, naive: Naive) -> None:
    print(f"\nNaive cost against its line, {case.name}: ", end="")
    print(
        f"{CHECK_SPP} spp predicted {naive.seconds(CHECK_SPP):.1f}, measured {naive.checked['plain']:.1f} core-s",
        end="",
    )
    if "adaptive" in naive.checked:
        print(
            f"; {ADAPTIVE_SPP} spp predicted {naive.seconds(ADAPTIVE_SPP):.1f}, measured with Blender's adaptive ",
            end="",
        )
        print(f"sampling {naive.checked['adaptive']:.1f}", end="")
    print(flush=True)


def _report_workers(stage: Stage, library: Library, images: int, scratch: Path) -> Aim:
    gain = measure_second_worker(stage, library, images, scratch)
    print(
        f"\nTwo workers over one, {images} images of {stage.width} x {stage.height}: {gain:.2f} times as fast",
        flush=True,
    )
    return ("two workers over one", gain, _LEAST_GAIN, True)


def print_verdicts(aims: list[Aim]) -> bool:
    """Prints which aims are met; True if all are."""
    print()
    met = []
    for aim, found, bound, more in aims:
        met.append(found >= bound if more else found <= bound)
        print(f"{'PASS' if met[-1] else 'FAIL'}  {aim}: {found:.3g} (at {'least' if more else 'most'} {bound:g})")
    return all(met)


if __name__ == "__main__":
    main()
