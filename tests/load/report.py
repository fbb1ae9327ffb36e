"""The Markdown of a run's figures: medians of the rounds. Knows nothing of how they were measured."""

import os
import statistics
from pathlib import Path

LATENCY = {
    "one": "1 connection, closed loop",
    "100": "100 requests/s",
    "500": "500 requests/s",
    "translated": "500 requests/s, OpenAI to Anthropic",
    "limited": "500 requests/s, 4 budgets and 3 rates",
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
    sections = [latency, saturation, cpu, observed, streams, memory, rest]
    return "\n\n".join(text for text in [head(results), *(section(results) for section in sections)] if text)


def head(results):
    machine = results["machine"]
    text = (f"{machine['cores']} cores ({machine['cpu']}), shared by the upstream, the load generator and the whole "
            f"gateway; {rounds(results['rounds'])}, direct and through in turn.")
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
            rows.append(f"| {title}{shortfall(measured['through'])} | {' | '.join(cells)} |")
    return table("| latency, ms | direct p50 | through | added | direct p99 | through | added |", rows)


def shortfall(figures):
    """Said where the gateway did not keep up with the rate that was asked of it."""
    asked, reached = figures[0]["rate"], median(figures, "rps")
    return f" (only {reached:,.0f} were served)" if asked and reached < 0.98 * asked else ""


def saturation(results):
    rows = []
    for name, title in SATURATION.items():
        if measured := results["measurements"].get(name):
            through = measured["through"]
            p50, p99 = (median(through, "latency_us", quantile) / 1e3 for quantile in ("p50", "p99"))
            rows.append(f"| {title} | {median(measured['direct'], 'rps'):,.0f} | **{median(through, 'rps'):,.0f}** | "
                        f"{p50:.2f} | {p99:.2f} |")
    return table("| saturation | direct, requests/s | through, requests/s | p50, ms | p99, ms |", rows)


def cpu(results):
    rows, processes = [], ["penstock", "nats-server", "clickhouse"]
    for name, title in CPU.items():
        if measured := results["measurements"].get(name):
            used = [median(measured["through"], "cpu", process, "us_per_req") / 1e3 for process in processes]
            rows.append(f"| {title} | {' | '.join(f'{each:.3f}' for each in used)} | **{sum(used):.3f}** |")
    return table("| CPU per request, ms | " + " | ".join(processes) + " | all |", rows)


def observed(results):
    """What the second gateway costs beside the first: medians of the rounds' ratios and differences."""
    rows = []
    for name, measured in results["measurements"].items():
        if beside := measured.get("observed"):
            pairs = list(zip(measured["through"], beside, strict=True))
            served = statistics.median(other["rps"] / own["rps"] for own, other in pairs)
            key = "latency_us" if name in SATURATION or name == "one" else "corrected_us"
            p50 = statistics.median((other[key]["p50"] - own[key]["p50"]) / 1e3 for own, other in pairs)
            p99 = statistics.median((other[key]["p99"] - own[key]["p99"]) / 1e3 for own, other in pairs)
            cost = statistics.median(total_cpu(other) / total_cpu(own) for own, other in pairs)
            title = {**LATENCY, **SATURATION}.get(name, name)
            rows.append(f"| {title} | {served:.3f} | {cost:.3f} | {p50:+.3f} | {p99:+.3f} |")
    return table("| with traces and bodies | requests/s, ratio | CPU, ratio | p50, ms | p99, ms |", rows)


def total_cpu(figures):
    """Microseconds for each request, in all processes of the gateway."""
    return sum(figures["cpu"][name]["us_per_req"] for name in ("penstock", "nats-server", "clickhouse"))


def streams(results):
    if not (measured := results["measurements"].get("streams")):
        return ""
    rows = []
    for way in ("direct", "through"):
        first = [f"{median(measured[way], 'ttft_us', quantile) / 1e3:.2f}" for quantile in ("p50", "p99")]
        rows.append(f"| {way} | {median(measured[way], 'rps'):,.0f} | {' | '.join(first)} |")
    return table("| streams of 50 chunks, 16 connections | streams/s | first token p50, ms | p99, ms |", rows)


def memory(results):
    if not (measured := results.get("memory")):
        return ""
    samples, half = measured["samples_mb"], len(measured["samples_mb"]) // 2
    rows = []
    for name in samples[0]:
        at = [results["rss_mb_ready"], samples[0], samples[half], samples[-1]]
        rows.append(f"| {name} | {' | '.join(f'{sample[name]:,.0f}' if name in sample else 'gone' for sample in at)} |")
    count = measured["requests"]
    return table(f"| memory, MB | when ready | before | after {count // 2:,} requests | after {count:,} |", rows)


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
    """Nothing where nothing was measured. All columns but the first hold numbers."""
    return "\n".join([header, "|---|" + "--:|" * (header.count("|") - 2), *rows]) if rows else ""


def median(figures, *path):
    """Of the rounds' figures at that path; what a process that was replaced meanwhile used is not known."""
    values = []
    for figure in figures:
        for key in path:
            figure = figure.get(key, {}) if isinstance(figure, dict) else {}
        if isinstance(figure, (int, float)):
            values.append(figure)
    return statistics.median(values) if values else float("nan")
