"""A table of figures, for the terminal and for a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class FigureTable:
    """A table of printed figures. The first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def dicts(self) -> list[dict[str, str]]:
        """The rows by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def row(self, name: str) -> dict[str, str]:
        """The row of that name."""
        return next(row for row in self.dicts() if row[self.columns[0]] == name)

    def rich(self) -> "Table":
        """The table for the terminal."""
        from rich.table import Table  # measured processes import this module and must not load rich

        table = Table(*self.columns, title=self.title, title_justify="left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """The table for a page."""
        head, *rows = (f"| {' | '.join(cells)} |\n" for cells in (self.columns, *self.rows))
        return "".join([head, "|---" * len(self.columns) + "|\n", *rows])
