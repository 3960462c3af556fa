"""Rows as CSV that is safe to open in a spreadsheet."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from detection.messages.text import escape_control

# The beginning of a formula (OWASP, "CSV Injection"), also in full width, and behind the separator that
# spreadsheets use where the comma is the decimal point. Tabs and line ends are escaped before.
_FORMULA = re.compile(r"(^ *|; *)(?=[=+\-@＝＋－＠])")


def csv_lines(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> Iterator[str]:
    """The lines of a CSV file with a header; each ends in a line feed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    yield buffer.getvalue()
    for row in rows:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow([_inert_cell(row[name]) for name in columns])
        yield buffer.getvalue()


def cell_text(value: object) -> str:
    """A value as the text of a cell: of lists and objects their JSON, of None an empty text."""
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def _inert_cell(value: object) -> str:
    """A cell of CSV without control and direction characters, which no spreadsheet takes for a formula."""
    text = cell_text(value)
    return text if isinstance(value, int | float) else _FORMULA.sub(r"\1'", escape_control(text))
