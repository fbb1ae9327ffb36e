"""The Markdown of a run's figures: medians of the rounds. Knows nothing of how they were measured."""

import os
import statistics
from pathlib import Path

LATENCY = {
    "one": "1 connection, closed loop",
    "100": "100 requests/s",
    "500": "500 requests/s",
    "2000": "2,000 requests/s",
    "prompt": "100K-token prompt (400 KB), 20/s",
}
SATURATION = {"16": "16 connections", "64": "64 connections"}
CPU = {**SATURATION, "500": "500 requests/s"}


def machine():
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), "unknown CPU")
    return {"cores": os.cpu_count(), "cpu": model}


def markdown(results):
    sections = [latency, saturation, cpu, streams, memory, rest]
    return "\n\n".join(text for text in [head(results), *(section(results) for section in sections)] if text)


def head(results):
    text = (f"{results['machine']['cores']} cores ({results['machine']['cpu']}), which the upstream, the load generator and "
            f"the whole gateway share; {rounds(results['rounds'])}, direct and through in turn.")
    if noise := results.get("foreign_cores"):
        text += (f" Other processes used {noise['median']:.2f} cores (median; at most {noise['max']:.2f}); "
                 f"{results['repeats']} measurements were made again because it was over 0.3.")
    return text


def rounds(count):
    return "one round" if count == 1 else f"medians of {count} rounds"


def latency(results):
    rows = []
    for name, title in LATENCY.items():
        if measured := results["measurements"].get(name):
            key = "latency_us" if name == "one" else "corrected_us"
            figures = [[median(measured[way], key, quantile) / 1e3 for way in ("direct", "through")]
                       for quantile in ("p50", "p99")]
            cells = [f"{direct:.3f} | {through:.3f} | **{through - direct:.3f}**" for direct, through in figures]
            rows.append(f"| {title} | {' | '.join(cells)} |")
    return table(
        "| latency, ms | direct p50 | through | added | direct p99 | through | added |\n|---|--:|--:|--:|--:|--:|--:|", rows)


def saturation(results):
    rows = []
    for name, title in SATURATION.items():
        if measured := results["measurements"].get(name):
            through = measured["through"]
            rows.append(
                f"| {title} | {median(measured['direct'], 'rps'):,.0f} | **{median(through, 'rps'):,.0f}** | "
                f"{median(through, 'latency_us', 'p50') / 1e3:.2f} | {median(through, 'latency_us', 'p99') / 1e3:.2f} |")
    return table("| saturation | direct, requests/s | through, requests/s | p50, ms | p99, ms |\n|---|--:|--:|--:|--:|", rows)


def cpu(results):
    rows, processes = [], ["penstock", "nats-server", "clickhouse"]
    for name, title in CPU.items():
        if measured := results["measurements"].get(name):
            used = [median(measured["through"], "cpu", process, "us_per_req") / 1e3 for process in processes]
            rows.append(f"| {title} | {' | '.join(f'{each:.3f}' for each in used)} | **{sum(used):.3f}** |")
    return table("| CPU per request, ms | " + " | ".join(processes) + " | all |\n|---|--:|--:|--:|--:|", rows)


def streams(results):
    if not (measured := results["measurements"].get("streams")):
        return ""
    rows = []
    for way in ("direct", "through"):
        first = [f"{median(measured[way], 'ttft_us', quantile) / 1e3:.2f}" for quantile in ("p50", "p99")]
        rows.append(f"| {way} | {median(measured[way], 'rps'):,.0f} | {' | '.join(first)} |")
    return table("| streams of 50 chunks, 16 connections | streams/s | first token p50, ms | p99, ms |\n|---|--:|--:|--:|", rows)


def memory(results):
    if not (measured := results.get("memory")):
        return ""
    samples, rows = measured["samples_mb"], []
    for name in samples[0]:
        at = [results["rss_mb_ready"][name], samples[0][name], samples[len(samples) // 2].get(name), samples[-1].get(name)]
        rows.append(f"| {name} | {' | '.join('gone' if each is None else f'{each:,.0f}' for each in at)} |")
    half = measured["requests"] // 2
    return table(f"| memory, MB | when ready | before | after {half:,} requests | after {measured['requests']:,} |\n"
                 "|---|--:|--:|--:|--:|", rows)


def rest(results):
    lines = []
    if ledger := results.get("ledger"):
        lines.append(f"Ledger: {ledger['rows']:,} rows for {ledger['served']:,} requests that the upstream served; "
                     f"complete {ledger['seconds_after_the_last']:.1f} s after the last one.")
    if starts := results.get("start_s"):
        lines.append(f"`penstock up` to ready: {statistics.median(starts):.2f} s; with an empty folder "
                     f"{results['first_start_s']:.2f} s.")
    if failed := sum(figures["errors"] for row in results["measurements"].values() for figures in row["through"]):
        lines.append(f"**{failed:,} requests failed.**")
    return "\n".join(lines)


def table(header, rows):
    return "\n".join([header, *rows]) if rows else ""


def median(figures, *path):
    """Of the rounds' figures at that path; what a process that was replaced meanwhile used is not known."""
    values = []
    for figure in figures:
        for key in path:
            figure = figure.get(key, {}) if isinstance(figure, dict) else {}
        if isinstance(figure, (int, float)):
            values.append(figure)
    return statistics.median(values) if values else float("nan")
