"""Made-up answers of the query API for the default rule, of any size, as bytes on the wire."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from string import ascii_letters, digits

from pydantic_core import to_json

from detection.base.timestamps import iso
from detection.rules.loading import default_rule, load_rule

RULE = load_rule(default_rule())
BEGIN = datetime(2026, 6, 8, tzinfo=UTC)
DAY = timedelta(days=1)
NOW = BEGIN + DAY
ACTORS = 5_000
MODELS = ("gpt-4o-2024-08-06", "gpt-4.1-2025-04-14", "gpt-5-2025-08-07")
KINDS = ("content_filter", "length")


def signal_rows(number: int, actors: int = ACTORS, seed: int = 1) -> Iterator[list[object]]:
    """Rows of one day as the rule's query returns them, in order of time, with ids as long as OpenAI's."""
    chance = random.Random(seed)
    for index in range(number):
        time, kind = iso((BEGIN + DAY * (index + 1) / number).replace(microsecond=0)), chance.choice(KINDS)
        ident = "chatcmpl-" + "".join(chance.choices(ascii_letters + digits, k=29))
        actor = f"user{chance.randrange(actors)}@example.com"
        request = f"req_{chance.getrandbits(128):032x}"
        reasons = f'["{kind}"]'
        yield [ident, time, time, kind, actor, chance.choice(MODELS), reasons, request, '[""]', None]


def body(side: str, rows: list[list[object]]) -> bytes:
    """The body of an answer with these rows of a side."""
    columns = [{"name": name, "type": kind} for name, kind in RULE.sequence.sides[side].columns.items()]
    return to_json({"tables": [{"name": "PrimaryResult", "columns": columns, "rows": rows}]})
