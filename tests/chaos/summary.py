"""The figures of all scenarios as one table, by fault."""

from collections.abc import Iterable
from typing import Any

from tests.chaos.stage import ScenarioFigures

COLUMNS = {
    "scenarios": "scenarios",
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
WIDTH = 10


def table(entries: Iterable[tuple[str, dict[str, int]]]) -> list[str]:
    """A row for each fault, and one for all of them."""
    rows: dict[str, list[ScenarioFigures]] = {}
    for fault, figures in entries:
        rows.setdefault(fault, []).append(ScenarioFigures(**figures))
    if not rows:
        return []
    rows = dict(sorted(rows.items())) | {
        "ALL": [scenario for scenarios in rows.values() for scenario in scenarios]
    }
    width = max(map(len, rows))
    heads = [name.rpartition(" ") for name in COLUMNS.values()]
    lines = [" " * width + "".join(f"{head[part]:>{WIDTH}}" for head in heads) for part in (0, 2)]
    for fault, scenarios in rows.items():
        total: dict[str, Any] = {"scenarios": len(scenarios)}
        for name in list(COLUMNS)[1:]:
            total[name] = sum(getattr(scenario, name) for scenario in scenarios)
        lines.append(f"{fault:<{width}}" + "".join(f"{total[name]:>{WIDTH},}" for name in COLUMNS))
    return lines
