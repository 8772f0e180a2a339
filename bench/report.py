# SPDX-License-Identifier: Apache-2.0
"""Medians, targets, ratios, the table."""
import statistics


class Target:
    """What weft must reach and aims for: a peer's figure times a factor ("h1/weft": its figure in another
    scenario), or a plain number. None: nothing is asked.

    A ratio of 1.00 or better means reached; above 1 is worse, whichever way the figure counts."""

    def __init__(self, scenario, key, unit, must, aim, higher_is_better=False):
        self.scenario, self.key, self.unit = scenario, key, unit
        self.must, self.aim, self.higher_is_better = must, aim, higher_is_better

    def value(self, bound, medians):
        if not isinstance(bound, tuple):
            return bound
        peer, factor = bound
        reference = medians.get(peer, {}).get(self.key)
        return None if reference is None else reference * factor

    def ratio(self, figure, bound, medians):
        limit = self.value(bound, medians)
        if not limit or not figure:
            return None
        return limit / figure if self.higher_is_better else figure / limit


CPU = ("us_per_request", "CPU µs/request")
TARGETS = [
    Target("h1", *CPU, ("nginx", 1.0), ("floor", 1.1)),
    Target("h1post", *CPU, ("haproxy", 1.0), ("haproxy", 0.8)),
    Target("h1close", *CPU, ("nginx", 1.0), ("nginx", 0.9)),
    Target("h2", *CPU, ("haproxy", 0.8), ("envoy", 0.5)),
    Target("pair", *CPU, ("haproxy", 1.0), ("haproxy", 0.85)),
    Target("pairh2", *CPU, ("haproxy", 1.0), ("haproxy", 0.9)),
    Target("istio", *CPU, ("envoy", 0.4), None),
    Target("p99", "p99_us", "p99 µs", ("haproxy", 1.0), ("haproxy", 1.0)),
    Target("tcp", "gib_per_cpu_s", "GiB/CPU s", ("envoy", 1.0), ("envoy", 1.5),
           higher_is_better=True),
    Target("clusters", "pss_mib", "PSS MiB", 25.0, 15.0),
    Target("idle", "kib_per_connection", "KiB/connection", 1.0, 0.5),
    Target("sidecar", *CPU, ("h1/weft", 1.25), ("envoy", 0.4)),
    Target("log", *CPU, ("h1/weft", 1.25), None),
    Target("routes", *CPU, ("h1/weft", 1.1), None),
    Target("scrape", "scrape_ms", "ms a scrape", ("envoy", 0.25), ("envoy", 0.1)),
    Target("scraped", "p99_ratio", "p99 of quiet p99", 1.1, None),
    Target("ring", *CPU, ("envoy", 1.0), None),
    Target("ring", "p999_us", "p99.9 µs", 5000.0, None),
    Target("maglev", *CPU, ("envoy", 1.0), None),
    Target("maglev", "p999_us", "p99.9 µs", 5000.0, None),
    Target("start", "answer_ms", "ms to first answer", 10.0, 5.0),
    Target("start", "pss_mib", "PSS MiB at rest", 6.0, 4.0),
]


def medians(rounds):
    """{peer: [figures of a round, ...]} to {peer: medians}; rounds that failed don't count."""
    result = {}
    for peer, runs in rounds.items():
        good = [r for r in runs if "error" not in r]
        if good:
            result[peer] = {k: statistics.median(r[k] for r in good) for k in good[0]}
    return result


def _spread(runs, key):
    """Half of the way from the least to the greatest, against the median; nothing to say of one."""
    values = [r[key] for r in runs if key in r]
    if len(values) < 2 or min(values) <= 0:
        return "-"
    return f"±{(max(values) - min(values)) / statistics.median(values) * 50:.0f} %"


def _ratio(value):
    return "-" if value is None else f"{value:.2f}"


def _detail(figures, key):
    names = {"rps": "req/s", "p99_us": "p99 µs", "pss_mib": "MiB", "accept_ms": "ms to listen",
             "gib_per_s": "GiB/s", "us_per_request": "CPU µs/request"}
    return ", ".join(f"{figures[k]:,.{0 if k in ('rps', 'p99_us') else 1}f} {names[k]}"
                     for k in names if k in figures and k != key)


def with_others(results, scenario):
    """A scenario's medians by peer, and those of all by "scenario/peer"."""
    others = {f"{name}/{peer}": figures for name, rounds in results.items() for peer, figures in medians(rounds).items()}
    return {**others, **medians(results.get(scenario, {}))}


def rows(scenario, results):
    """The lines of one scenario, one a peer and figure."""
    rounds, mids = results[scenario], with_others(results, scenario)
    for target in (t for t in TARGETS if t.scenario == scenario):
        for peer in rounds:
            errors = [r["error"] for r in rounds[peer] if "error" in r]
            if errors:
                last = errors[-1].splitlines() or [""]
                yield (scenario, peer, target.unit, "-", "", "-", "-",
                       f"{len(errors)} of {len(rounds[peer])} rounds failed: {last[-1][:90]}")
            if peer in mids:
                figure = mids[peer][target.key]
                yield (scenario, peer, target.unit, f"{figure:.2f}",
                       _spread(rounds[peer], target.key),
                       _ratio(target.ratio(figure, target.must, mids)),
                       _ratio(target.ratio(figure, target.aim, mids)),
                       _detail(mids[peer], target.key))


HEADINGS = ("scenario", "peer", "unit", "median", "spread", "/must", "/aim", "beside it")


def table(results):
    lines = [HEADINGS] + [row for scenario in results for row in rows(scenario, results)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    left = {0, 1, 2, 7}
    text = []
    for line in lines:
        cells = [c.ljust(w) if i in left else c.rjust(w)
                 for i, (c, w) in enumerate(zip(line, widths))]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def missed(results):
    """What weft was measured at and didn't reach."""
    out = []
    for target in TARGETS:
        mids = with_others(results, target.scenario)
        figure = mids.get("weft", {}).get(target.key)
        ratio = target.ratio(figure, target.must, mids)
        if ratio is not None and ratio > 1.0:
            limit = target.value(target.must, mids)
            out.append(f"{target.scenario}: {figure:.2f} {target.unit}, must reach {limit:.2f}")
    return out


def has_errors(results):
    return any("error" in r for rounds in results.values() for runs in rounds.values() for r in runs)
