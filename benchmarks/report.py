"""Table and figure of the measurements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dmaf_lite.base.atomic import write_text

Result = dict[str, Any]
STEP = {"side": 80, "batch": 1, "modalities": 3, "precision": "float32", "preset": "lite", "compile": False}
BUSY = 0.5  # load average from which a measurement is said to be disturbed
CASE = {"window": 80, "subsets": 15}
HEAD = """# Benchmarks

Written by `python -m benchmarks run` (numbers in [benchmarks.json](benchmarks.json)); nothing here is typed in.
Ratios are to a reference **in the same run on the same machine**: `benchmarks/plain_peer.py`, our own plain form of
how the public code of RFNet and RFNet + PASSION computes (its parameters and floating-point operations are those of
that code), and evaluation with the peers' windows that encodes anew for every subset.
"""


def write_report(folder: Path) -> str:
    """Write `benchmarks.md` and `benchmarks.png` beside `benchmarks.json`; returns the text."""
    found = json.loads((folder / "benchmarks.json").read_text())
    text = render(found)
    write_text(folder / "benchmarks.md", text)
    figure(found, folder / "benchmarks.png")
    return text


def render(found: dict[str, Any]) -> str:
    """The report as Markdown."""
    machine, results = found["machine"], found["results"]
    parts = [
        HEAD,
        f"Measured on {machine['hardware']}; torch {machine['torch']}; {found['date']}, commit {found['commit']}.\n",
        f"Roof: matrix product {machine['matrix_product_float32_gflops']:.0f} GFLOP/s in float32 and "
        f"{machine['matrix_product_bfloat16_gflops']:.0f} in bfloat16; stream copy "
        f"{machine['copy_gbytes']:.0f} GB/s.\n",
        "## A training step\n", *apart(results, "step"), step_table(results, machine),
        *(["\n### Where a small step goes\n", *apart(results, "anatomy"), anatomy_table(results)]
          if of(results, "anatomy") else []),
        "\n## A case over all subsets\n", *apart(results, "case"), case_table(results),
        "\n## Reading crops\n", *apart(results, "loading"), loading_table(results),
        *(["\n### With processes that read ahead\n", *apart(results, "workers"), workers_table(results)]
          if of(results, "workers") else []),
        *(["\n### From few cases and many\n", *apart(results, "cases"), cases_table(results)]
          if of(results, "cases") else []),
        *(["\n### What the store could be\n", *apart(results, "store"), *map(store_table, of(results, "store"))]
          if of(results, "store") else []),
        *(["\n## A busy machine\n", *apart(results, "busy"), busy_table(results)] if of(results, "busy") else []),
        "\n## How cost grows\n",
        "![Seconds a step against crop, batch and scans, with the counted limit; seconds a window against the subsets; "
        "seconds a crop against the reading processes and the cases](benchmarks.png)\n",
        "Dashed: the operations of the step, counted, at the speed of a large matrix product on the same machine.\n",
    ]
    if "cuda" not in {r.get("device") for r in results}:
        parts.append("\nOn a GPU: [gpu.md](gpu.md), measured by `benchmarks/gpu.py`.\n")
    return "\n".join(parts)


def anatomy_table(results: Sequence[Result]) -> str:
    """Shares of the processor time of a step, by kinds of operation; one line for each form."""
    found = [one for one in of(results, "anatomy") if "error" not in one]
    kinds = list(found[0]["shares"]) if found else []
    lines = ["Processor time of DMAF-Net's step on one thread, three scans, batch 1, by kinds of torch's operations. "
             "\"torch's rule\": one small study goes to torch's old kernel; \"in halves\": the same sums as a batch of "
             "two ([convolution.py](../dmaf_lite/nn/convolution.py)).\n",
             row("crop", "precision", "convolutions", "s", "operations", *kinds), row(*["---"] * (5 + len(kinds)))]
    for one in found:
        lines.append(row(f"{one['side']}^3", one.get("precision", "float32"),
                         "in halves" if one.get("halves", True) else "torch's rule", f"{one['seconds']:.2f}",
                         one["operations"], *(f"{one['shares'][kind]:.0%}" for kind in kinds)))
    return "\n".join(lines) + "\n"


def apart(results: Sequence[Result], what: str) -> list[str]:
    """A line about the machine of one kind of measurement, where it was made apart from the others."""
    lines = []
    for one in [r["measured"] for r in of(results, what) if "measured" in r][:1]:
        load = one.get("load", 0.0)
        busy = f" The machine was busy with other work: load {load:.1f}." if load > BUSY else ""
        lines.append(f"Measured apart, on {one['hardware']}; torch {one['torch']}; {one['date']}, commit "
                     f"{one['commit']}.{busy}\n")
    return lines


def of(results: Sequence[Result], what: str) -> list[Result]:
    """The measurements of one kind, with defaults filled in."""
    default = {"step": STEP, "case": CASE}.get(what, {})
    return [default | r for r in results if r["what"] == what]


def row(*cells: object) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def ratio(value: float, reference: float | None) -> str:
    """A ratio, or a dash where there is no reference."""
    return f"{value / reference:.2f}" if reference else "-"


def step_table(results: Sequence[Result], machine: dict[str, Any]) -> str:
    """Steps; ratios where the plain peer was measured at the same crop, batch and scans."""
    lines = [row("method", "crop", "batch", "scans", "precision", "s", "GFLOP", "GFLOP/s", "of the roof", "peak GB",
                 "to RFNet", "to RFNet + PASSION", "memory to RFNet + PASSION"), row(*["---"] * 13)]
    steps = of(results, "step")
    for r in steps:
        shape = (r["side"], r["batch"], r["modalities"])
        name = r["method"] + (f" ({r['preset']})" if not r["method"].startswith("plain") else "")
        if "error" in r:
            lines.append(row(name, *shape, r["precision"], r["error"], *["-"] * 7))
            continue
        peers = {p["method"]: p for p in steps if p["method"].startswith("plain") and "error" not in p
                 and (p["side"], p["batch"], p["modalities"]) == shape}
        rfnet, passion = peers.get("plain rfnet", {}), peers.get("plain rfnet + passion", {})
        top = machine[f"matrix_product_{r['precision']}_gflops"]
        lines.append(row(
            name + (" compiled" if r["compile"] else ""), f"{r['side']}^3", r["batch"], r["modalities"], r["precision"],
            f"{r['seconds']:.2f}", f"{r['gflop']:.0f}", f"{r['gflops']:.0f}", f"{r['gflops'] / top:.0%}",
            f"{r['peak_gbytes']:.1f}", ratio(r["seconds"], rfnet.get("seconds")),
            ratio(r["seconds"], passion.get("seconds")), ratio(r["peak_gbytes"], passion.get("peak_gbytes"))))
    return "\n".join(lines)


def case_table(results: Sequence[Result]) -> str:
    """Cases; ratios to the naive form at the same shape."""
    lines = [row("form", "case", "window", "subsets", "s", "peak GB", "to naive"), row(*["---"] * 7)]
    cases = of(results, "case")
    for r in cases:
        naive = next((c for c in cases if c["form"] == "naive" and c["shape"] == r["shape"]
                      and c["subsets"] == r["subsets"]), {})
        shown = (f"{r['seconds']:.1f}", f"{r['peak_gbytes']:.1f}", ratio(r["seconds"], naive.get("seconds"))) \
            if "error" not in r else (r["error"], "-", "-")
        lines.append(row(r["form"], "x".join(map(str, r["shape"])), f"{r['window']}^3", r["subsets"], *shown))
    return "\n".join(lines)


def loading_table(results: Sequence[Result]) -> str:
    """Crops; the reference reads the whole volumes."""
    lines = ["Warm: the files are in memory. Cold: they come from the disk.\n",
             row("crop", "case on disk, MB", "whole volumes, ms", "crop, ms", "crop and augmentation, ms", "GB/s",
                 "to whole volumes", "cold: whole volumes, ms", "cold: crop, ms", "cold: to whole volumes"),
             row(*["---"] * 10)]
    for r in of(results, "loading"):
        if "error" in r:
            lines.append(row(r["side"], r["error"], *["-"] * 8))
            continue
        cold, whole = r.get("cold_s"), r.get("whole_cold_s")
        lines.append(row("x".join(map(str, r["crop"])), f"{r['case_mbytes']:.0f}",
                         *(f"{1000 * r[key]:.1f}" for key in ("whole_s", "read_s", "crop_s")),
                         f"{r['gbytes_per_s']:.1f}", f"{r['ratio']:.2f}", milliseconds(whole), milliseconds(cold),
                         ratio(cold, whole) if cold else "-"))
    return "\n".join(lines)


def milliseconds(value: float | None) -> str:
    """Seconds as ms, or a dash where nothing could be measured."""
    return "-" if value is None else f"{1000 * value:.1f}"


def workers_table(results: Sequence[Result]) -> str:
    """Crops of 80^3 with augmentation by the number of reading processes."""
    lines = ["Augmented crops while nothing else computes; 0 reads in the training's own process.\n",
             row("processes", "first crop, s", "each of the next, ms"), row(*["---"] * 3)]
    for r in of(results, "workers"):
        cells = (r["error"], "-") if "error" in r else (f"{r['first_s']:.2f}", f"{1000 * r['batch_s']:.1f}")
        lines.append(row(r["workers"], *cells))
    return "\n".join(lines)


def cases_table(results: Sequence[Result]) -> str:
    """Opening a cohort and reading a batch by the number of cases."""
    lines = ["A small case under many names, in processor time: opening reads what is known of every case; a crop of",
             "32^3 reads its own case only.\n",
             row("cases", "open, ms", "crop, ms"), row(*["---"] * 3)]
    for r in of(results, "cases"):
        cells = (r["error"], "-") if "error" in r else (f"{1000 * r['open_s']:.1f}", f"{1000 * r['batch_s']:.2f}")
        lines.append(row(r["cases"], *cells))
    return "\n".join(lines)


def store_table(found: Result) -> str:
    """Forms of the store: bytes, work, and what is lost, with ratios to the first."""
    if "error" in found:
        return found["error"]
    sides = found["sides"]
    shape = "x".join(map(str, found["shape"]))
    lines = [f"Four scans of {shape} voxels, {found['background']:.0%} of them background; preparing the case takes "
             f"{found['prepare_s']:.2f} s of one processor. All times but the cold one are processor time, and ratios "
             "are to the first row. The kit keeps the first form: the second changes values, and the exact ones make a "
             "warm crop dearer.\n",
             row("form", "MB", "to the first", "largest error", "write, s", *(f"crop {s}^3, ms" for s in sides),
                 *(f"{s}^3 to the first" for s in sides), f"cold {sides[len(sides) // 2]}^3, ms"),
             row(*["---"] * (6 + 2 * len(sides)))]
    first = next(iter(found["forms"].values()))
    for name, r in found["forms"].items():
        if "error" in r:
            lines.append(row(name, r["error"], *["-"] * (4 + 2 * len(sides))))
            continue
        lines.append(row(name, f"{r['mbytes']:.1f}", ratio(r["mbytes"], first["mbytes"]), f"{r['error_most']:.2g}",
                         f"{r['write_s']:.2f}", *map(milliseconds, r["crop_s"]),
                         *(ratio(a, b) for a, b in zip(r["crop_s"], first["crop_s"], strict=True)),
                         milliseconds(r["cold_s"])))
    return "\n".join(lines)


def busy_table(results: Sequence[Result]) -> str:
    """A step of 32^3 by how long waiting threads spin, alone and beside one busy loop for every core."""
    lines = ["A step of 32^3, alone and beside one busy loop for every core, by how long waiting threads spin;",
             "`kit` is what the package sets. Its price is paid alone (to `library`), its gain is the busy step.\n",
             row("threads", "alone, s", "to library", "busy, s", "busy to alone", "processor s alone",
                 "processor s busy"),
             row(*["---"] * 7)]
    rows = of(results, "busy")
    library = next((r for r in rows if r["form"] == "library" and "error" not in r), {})
    for r in rows:
        if "error" in r:
            lines.append(row(r["form"], r["error"], *["-"] * 5))
            continue
        lines.append(row(r["form"], f"{r['quiet_s']:.2f}", ratio(r["quiet_s"], library.get("quiet_s")),
                         f"{r['busy_s']:.2f}", ratio(r["busy_s"], r["quiet_s"]), f"{r['quiet_cpu_s']:.2f}",
                         f"{r['busy_cpu_s']:.2f}"))
    return "\n".join(lines)


def figure(found: dict[str, Any], path: Path) -> None:
    """How the cost of a step grows with crop, batch and scans, of a window with the subsets, of a crop with the cases.

    Beside a step the counted limit: its floating-point operations at the speed of a large matrix product.
    """
    import matplotlib.pyplot as plt

    from dmaf_lite.figures.style import style

    results = found["results"]
    steps = [r for r in of(results, "step") if r["method"] == "dmaf_net + dmaf" and "error" not in r
             and not r["compile"] and r["preset"] == "lite"]
    half = [r for r in steps if r["precision"] == "bfloat16"] or steps
    base = {"side": 48, "batch": 1, "modalities": 3}
    panels = [
        ("side of the crop, voxels", "side", [r for r in half if r["batch"] == 1 and r["modalities"] == 3]),
        ("batch at 48^3", "batch", [r for r in half if r["side"] == base["side"] and r["modalities"] == 3]),
        ("scans of the study at 80^3", "modalities", [r for r in half if r["side"] == 80 and r["batch"] == 1]),
        ("subsets of one window of 80^3", "subsets",
         [r for r in of(results, "case") if r["shape"] == [80, 80, 80] and "error" not in r]),
    ]
    crops = [("reading processes, crops of 80^3", "workers", [r for r in of(results, "workers") if "error" not in r]),
             ("cases of the cohort, crops of 32^3", "cases", [r for r in of(results, "cases") if "error" not in r])]
    with style():
        fig, axes = plt.subplots(2, 3, figsize=(9, 5), layout="constrained")
        for ax, (label, key, rows) in zip(axes.flat, panels, strict=False):
            rows = sorted(rows, key=lambda r: r[key])
            ax.plot([r[key] for r in rows], [r["seconds"] for r in rows], "o-", label="measured")
            if rows and all("gflop" in r for r in rows):
                roofs = [found["machine"][f"matrix_product_{r['precision']}_gflops"] for r in rows]
                limit = [r["gflop"] / top for r, top in zip(rows, roofs, strict=True)]
                ax.plot([r[key] for r in rows], limit, "--", label="counted limit")
            ax.set(xlabel=label, ylim=(0, None))
        for ax, (label, key, rows) in zip(axes.flat[len(panels):], crops, strict=True):
            taken = [1000 * r["batch_s"] for r in rows]
            ax.plot([r[key] for r in rows], taken, "o-")
            ax.set(xlabel=label, ylabel="milliseconds a crop", ylim=(0, 1.1 * max(taken, default=1.0)))
            ax.set_visible(bool(rows))  # not measured
            if key == "cases" and rows:
                ax.set_xscale("log")
            else:
                ax.set_xticks([r[key] for r in rows])
        for ax in axes[:, 0]:
            ax.set_ylabel("seconds")
        axes.flat[0].legend()
        fig.savefig(path, dpi=160)
        plt.close(fig)
