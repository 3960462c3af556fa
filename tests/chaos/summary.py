"""The figures of all scenarios as one table, by fault."""

from collections.abc import Iterable
from typing import Any

from tests.chaos.stage import Figures

COLUMNS = {
    "scenarios": "scenarios",
    "pairs": "pairs",
    "lost": "lost",
    "twice": "told twice",
    "wrong_incident": "wrong incident",
    "changed": "body changed",
    "refused": "beyond limits",
    "waiting": "left waiting",
    "repeats": "sent again",
    "killed": "killed",
    "failed_runs": "failed runs",
    "dead_letters": "dead letters",
}
WIDTH = 10


def table(entered: Iterable[tuple[str, dict[str, int]]]) -> list[str]:
    """A row for each fault, and one for all of them."""
    rows: dict[str, list[Figures]] = {}
    for fault, figures in entered:
        rows.setdefault(fault, []).append(Figures(**figures))
    if not rows:
        return []
    rows = dict(sorted(rows.items())) | {"ALL": [one for some in rows.values() for one in some]}
    width = max(map(len, rows))
    heads = [name.rpartition(" ") for name in COLUMNS.values()]
    lines = [" " * width + "".join(f"{head[part]:>{WIDTH}}" for head in heads) for part in (0, 2)]
    for fault, some in rows.items():
        total: dict[str, Any] = {"scenarios": len(some)}
        for name in list(COLUMNS)[1:]:
            total[name] = sum(getattr(one, name) for one in some)
        lines.append(f"{fault:<{width}}" + "".join(f"{total[name]:>{WIDTH},}" for name in COLUMNS))
    return lines
