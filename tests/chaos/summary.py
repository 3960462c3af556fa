"""The figures of all scenarios as one table, by neighbour and fault."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

COUNTS = {
    "pairs": "pairs",
    "lost": "lost",
    "twice": "alerted twice",
    "wrong_incident": "wrong incident",
    "changed": "body changed",
    "refused": "beyond limits",
    "waiting": "left in queue",
    "repeats": "sent again",
    "killed": "killed",
    "failed_runs": "failed runs",
    "dead_letters": "dead letters",
}
COLUMNS = ["scenarios", *COUNTS.values(), "seconds", "requests", "exit codes", "cause named"]
PROCESS = "process"  # the group of faults that have no neighbour in their name
NONE = "–"

Figures = Mapping[str, Any]  # of a scenario, as asdict(ScenarioFigures)


def table(entries: Iterable[tuple[str, Figures]]) -> list[str]:
    """A row for each fault below its neighbour, and one for all faults."""
    faults: dict[tuple[str, str], list[Figures]] = {}
    for name, figures in entries:
        neighbour, _, fault = name.rpartition(": ")
        faults.setdefault((neighbour or PROCESS, fault), []).append(figures)
    if not faults:
        return []
    rows = [["", *(name.rpartition(" ")[part] for name in COLUMNS)] for part in (0, 2)]
    for neighbour, keys in groupby(sorted(faults), key=lambda key: key[0]):
        rows.append([neighbour])
        rows += [[f"  {key[1]}", *_cells(neighbour, faults[key])] for key in keys]
    rows.append(["ALL", *_cells("", [figures for scenarios in faults.values() for figures in scenarios])])
    widths = [
        max(len(cell) for cell in cells) for cells in zip(*(row for row in rows if row[1:]), strict=True)
    ]
    return [_line(row, widths) for row in rows]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *cells = row
    return "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]).rstrip()


def _cells(neighbour: str, scenarios: Sequence[Figures]) -> list[str]:
    totals = [len(scenarios), *(sum(figures[name] for figures in scenarios) for name in COUNTS)]
    faults: list[Figures] = [figures["fault"] for figures in scenarios if figures["fault"]["exit_codes"]]
    requests = [fault["requests"][neighbour] for fault in faults if neighbour in fault["requests"]]
    exit_codes = sorted({code for fault in faults for code in fault["exit_codes"]})
    named = [fault["named"] for fault in faults if fault["named"] is not None]
    return [
        *(f"{total:,}" for total in totals),
        f"{max(fault['seconds'] for fault in faults):.1f}" if faults else NONE,
        f"{max(requests):,}" if requests else NONE,
        ", ".join(map(str, exit_codes)) or NONE,
        ("yes" if all(named) else "no") if named else NONE,
    ]
