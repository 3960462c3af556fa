"""The figures in docs, made from benchmarks/results.json and from nothing else.

A page names the run of its figures. A table from another run has a remark below it.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.hours import SERVICES
from benchmarks.results import Results
from tests.support.marked import filled

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("backtest", "deploy", "reliability", "scale", "tuning")]
# The tables of the pages, and the part that measures each.
PART_OF: Mapping[str, str] = {
    "wire": "wire",
    "semi-join": "semi-join",
    "correlation": "correlation",
    "flat": "correlation",
    "matches": "matches",
    "cold": "cold",
    "hours": "hours",
    "cost": "cost",
    "large": "large",
    "large-stages": "large",
    "backtest": "backtest",
    "tuning-quiet": "tuning",
    "tuning-noisy": "tuning",
    "volume": "volume",
    "scale": "scale",
    "scale-growth": "scale",
    "package": "package",
    "beyond": "beyond",
}
SUMMED_UP = ("wire", "correlation", "large", "backtest", "cold", "hours")  # of docs/scale.md


def tables(results: Results) -> Mapping[str, Callable[[], str]]:
    """The blocks of the pages by name."""
    return {
        "run": partial(_run, results),
        "libraries": partial(_libraries, results),
        "speed": partial(_with_remarks, results, SUMMED_UP, _speed),
    } | {
        name: partial(_with_remarks, results, [part], partial(_table, name)) for name, part in PART_OF.items()
    }


def write(results: Results) -> None:
    """Writes the figures into the pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8"), tables(results)), encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------ blocks


def _run(results: Results) -> str:
    return f"Measured on {results.main_run()}.\n" if results.runs else "Not measured yet: `make bench`.\n"


def _libraries(results: Results) -> str:
    libraries = results.main_run().libraries if results.runs else {}
    return ", ".join(f"{name} {version}" for name, version in libraries.items()) + "\n"


def _with_remarks(results: Results, parts: Iterable[str], block: Callable[[Results], str]) -> str:
    """The block, with remarks about parts that another run measured than the page names."""
    if missing := [name for name in parts if name not in results.parts]:
        return f'Not measured yet: `make bench ARGS="{" ".join(missing)} --write"`.\n'
    runs = {name: results.run_of(results.parts[name]) for name in parts}
    other_runs = {name: run for name, run in runs.items() if run != results.main_run()}
    remarks = (f"\n`{name}` was measured in another run: {run}.\n" for name, run in other_runs.items())
    return block(results) + "".join(remarks)


def _table(name: str, results: Results) -> str:
    return results.parts[PART_OF[name]].tables[name].markdown()


def _speed(results: Results) -> str:
    """The summary of docs/scale.md."""
    rows = [*_reading(results), *_correlating(results), *_running(results)]
    heads = ("| | CPU, peak memory | for comparison |", "|---|---|---|")
    return "".join(f"{line}\n" for line in (*heads, *(f"| {' | '.join(cells)} |" for cells in rows)))


def _reading(results: Results) -> Iterable[tuple[str, ...]]:
    wire = results.parts["wire"].tables["wire"]
    job, bare, sdk = (
        f"{row['CPU s']} s, {row['peak MiB']} MiB"
        for row in map(wire.row, ("this job, over HTTP", "json.loads", "query_workspace, over HTTP"))
    )
    yield (
        wire.title,
        job,
        f"`json.loads` alone {bare}; the SDK's `query_workspace` {sdk}",
    )


def _correlating(results: Results) -> Iterable[tuple[str, ...]]:
    correlation, flat = (
        results.parts["correlation"].tables["correlation"],
        results.parts["correlation"].tables["flat"],
    )
    million, smallest, largest = correlation.dicts()[-1], flat.dicts()[0], flat.dicts()[-1]
    engines = ", ".join(f"{name} {million[name]} s" for name in ("DuckDB", "Polars", "pandas"))
    yield (
        f"{million['signals']} signals to chains, from Python rows",
        f"{million['plain Python']} s",
        f"{engines}; they only count the pairs",
    )
    yield (
        f"{largest['pairs']} pairs of one actor",
        f"{largest['CPU s']} s",
        f"{smallest['pairs']} pairs {smallest['CPU s']} s",
    )


def _running(results: Results) -> Iterable[tuple[str, ...]]:
    tables = {name: figures for part in results.parts.values() for name, figures in part.tables.items()}
    many_actor_rows = [row for row in tables["large"].dicts() if row["actors"] != "1"]
    month = tables["backtest"].dicts()[-1]
    app, azure, loaded = (
        f"{tables['cold'].row(name)['ms']} ms"
        for name in ("function_app", "its Azure packages alone", "function_app and all that a run loads")
    )
    yield (
        f"{many_actor_rows[-1]['signals']} new signals of {many_actor_rows[-1]['actors']} actors in one run",
        _cpu_and_peak(many_actor_rows[-1]),
        f"{many_actor_rows[0]['signals']} signals {_cpu_and_peak(many_actor_rows[0])}",
    )
    yield f"`backtest`: 720 hourly runs of two rules over {month['rows']} rows", _cpu_and_peak(month), ""
    yield (
        "cold start: `import function_app`",
        app,
        f"its Azure packages alone {azure}; with all that a run loads {loaded}",
    )
    for hour in tables["hours"].dicts():
        yield (
            f"a run, cold start included: {hour['hour']}",
            _cpu_and_peak(hour),
            "requests: " + ", ".join(f"{name} {hour[name]}" for name in SERVICES),
        )


def _cpu_and_peak(row: Mapping[str, str]) -> str:
    return f"{row['CPU s']} s, {row['peak MiB']} MiB"
