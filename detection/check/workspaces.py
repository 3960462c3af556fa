"""What the query API says: who asks, whether it may, and what the workspaces hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from detection.check.bench import Bench
from detection.check.failing import failed, tried
from detection.check.finding import Finding, green, red
from detection.check.judging import (
    LOOKED_BACK,
    Arrivals,
    identity_in,
    judge_age,
    judge_clock,
    judge_delay,
    judge_missing_table,
    judge_operators,
    judge_plan,
    judge_table,
    usable_lateness,
)
from detection.check.questions import (
    ARRIVAL_COLUMNS,
    NOW,
    SCHEMA_COLUMNS,
    arrival_query,
    needed_columns,
    said_of,
    schema_query,
    trial_queries,
    truth_lines,
    truth_query,
)
from detection.errors import Incomplete
from detection.kql import tables_of
from detection.rule import KqlType, Rule
from detection.sources.answer import UNKNOWN_NAME, WRONG_PLAN, Refused, Table
from detection.sources.log_analytics import LogAnalytics, token_for

PATIENCE = 60.0  # seconds in which a question may be sent again

Schema = dict[str, str]  # a table's columns with their types


class SourceOf(NamedTuple):
    """What one or several rules read, as one of them names it; `usable` is the least lateness that they allow."""

    name: str
    rule: Rule
    side: str
    usable: timedelta


class Needed(NamedTuple):
    """What the rules need of a table."""

    columns: dict[str, KqlType]
    optional: bool


@dataclass
class Workspaces:
    """The workspaces, one by one; what the first checks find, the later ones go by."""

    bench: Bench
    reached: dict[str, LogAnalytics] = field(default_factory=dict)
    schemas: dict[tuple[str, str], Schema] = field(default_factory=dict)  # by workspace and table

    def token(self) -> Iterator[Finding]:
        """Whether there is an identity, and which."""
        settings = self.bench.settings
        if not settings.LOG_ANALYTICS_WORKSPACE_ID:
            yield red("token", "there are no logs to ask for", "set LOG_ANALYTICS_WORKSPACE_ID, or LOGS_DIR")
            return
        token = token_for(settings.LOG_ANALYTICS_ENDPOINT, settings.AZURE_CLIENT_ID)
        yield green("token", identity_in(token))

    def reach(self) -> Iterator[Finding]:
        """Whether each workspace answers this identity."""
        for workspace, asked in self.bench.apart.items():
            name = f"workspace {workspace}"
            try:
                asked.ask(name, "print Reached = 1", PATIENCE)
            except Exception as error:  # noqa: BLE001  # the next one has to be tried
                yield failed(name, error)
            else:
                self.reached[workspace] = asked
                yield green(name, "answers")

    def tables(self) -> Iterator[Finding]:
        """Whether the tables are there with the columns that the rules' KQL names, on the plan that can be queried."""
        needed = _needed(self.bench.rules)
        answers = [
            (workspace, table, self._schema(workspace, table))
            for workspace in self.reached
            for table in needed
        ]
        for workspace, table, answer in answers:
            name, wanted = self._named(f"table {table}", workspace), needed[table]
            if isinstance(answer, Finding):
                yield answer
            elif answer is None:
                elsewhere = any(table == other for _, other in self.schemas)
                yield judge_missing_table(name, optional=wanted.optional, elsewhere=elsewhere)
            else:
                yield judge_table(name, wanted.columns, answer, optional=wanted.optional)

    def sources(self) -> Iterator[Finding]:
        """How old the newest rows are, and how long rows take to arrive."""
        for workspace, asked in self.reached.items():
            for source in sources_of(self.bench):
                if any((workspace, table) in self.schemas for table in tables_of(source.rule, source.side)):
                    name = self._named(f"newest row of {source.name}", workspace)
                    yield from tried(name, partial(self._source, source, workspace, asked))

    def _source(self, source: SourceOf, workspace: str, asked: LogAnalytics) -> Iterator[Finding]:
        newest, arrival = (
            self._named(f"{what} {source.name}", workspace) for what in ("newest row of", "arrival of")
        )
        now = self.bench.clock()
        query = arrival_query(source.rule, source.side, now - LOOKED_BACK, inline=self.bench.inline)
        found = arrivals_in(asked.ask(newest, query, PATIENCE))
        yield judge_age(newest, found, now, LOOKED_BACK)
        yield judge_delay(arrival, found, source.usable)

    def queries(self) -> Iterator[Finding]:
        """Whether what a run asks is taken, by all workspaces as one."""
        for rule in self.bench.rules:
            name = f"queries of {rule.folder}"
            yield from tried(name, partial(self._queries, rule, name))

    def _queries(self, rule: Rule, name: str) -> Iterator[Finding]:
        texts = trial_queries(rule, self.bench.clock(), inline=self.bench.inline)
        for what, query in texts.items():
            self.bench.logs.ask(f"{rule.folder}, {what}", query, PATIENCE)
        yield green(name, f"{', '.join(texts)}: as a run sends them, taken by all workspaces")

    def operators(self) -> Iterator[Finding]:
        """Whether the operators mean what the rules take them to mean, and whether our clock is right."""
        lines, asked = truth_lines(), next(iter(self.reached.values()))
        before = self.bench.clock()
        answer = asked.ask("operators", truth_query(lines), PATIENCE)
        after = self.bench.clock()
        said = rows_of(answer, answer.columns)[0]
        yield judge_operators("operators", said_of(lines, said), len(lines))
        yield judge_clock("clock", before + (after - before) / 2 - datetime.fromisoformat(str(said[NOW])))

    def _schema(self, workspace: str, table: str) -> Schema | Finding | None:
        """A table's schema; None where there is no such table, a finding where there is no answer."""
        name, (column, kind) = self._named(f"table {table}", workspace), SCHEMA_COLUMNS
        try:
            answer = self.reached[workspace].ask(name, schema_query(table), PATIENCE)
            schema = {str(row[column]): str(row[kind]) for row in rows_of(answer, SCHEMA_COLUMNS)}
        except Exception as error:  # noqa: BLE001  # the next table has to be tried
            codes = error.codes if isinstance(error, Refused) else ()
            if UNKNOWN_NAME in codes:
                return None
            return judge_plan(name) if WRONG_PLAN in codes else failed(name, error)
        self.schemas[workspace, table] = schema
        return schema

    def _named(self, what: str, workspace: str) -> str:
        """A name, with the workspace in it where there are several."""
        return what if len(self.bench.apart) == 1 else f"{what} in {workspace}"


def sources_of(bench: Bench) -> list[SourceOf]:
    """What the rules read, each once."""
    settings, found = bench.settings, dict[str, SourceOf]()
    for rule in bench.rules:
        usable = usable_lateness(rule, settings.ALLOWED_LATENESS, settings.MAX_CATCH_UP)
        for side, one in rule.sequence.sides.items():
            known = found.get(one.source, SourceOf(one.source, rule, side, usable))
            found[one.source] = known._replace(usable=min(known.usable, usable))
    return list(found.values())


def arrivals_in(answer: Table) -> Arrivals:
    """The answer to a query for a source's newest row, with or without delays."""
    [said] = rows_of(answer, [name for name in ARRIVAL_COLUMNS if name in answer.columns])
    longest, most = (said.get(name) for name in ("Longest", "Most"))
    return Arrivals(
        rows=int(str(said["Rows"])),
        newest=datetime.fromisoformat(str(said["Newest"])) if said["Newest"] else None,
        longest=_seconds(longest),
        most=_seconds(most),
    )


def rows_of(answer: Table, columns: Sequence[str]) -> list[dict[str, object]]:
    """The rows of a small answer. Raises Incomplete when it lacks a column or has no row."""
    missing = [name for name in columns if name not in answer.columns]
    if missing or not answer.rows:
        raise Incomplete(f"the query API's answer has no {', '.join(missing) or 'row'}")
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def _seconds(value: object) -> timedelta | None:
    return None if value is None else timedelta(seconds=float(str(value)))


def _needed(rules: Sequence[Rule]) -> dict[str, Needed]:
    """What the rules need of each table."""
    needed: dict[str, Needed] = {}
    for rule in rules:
        for table, columns in needed_columns(rule).items():
            known = needed.get(table, Needed({}, rule.tables[table].optional))
            needed[table] = Needed(known.columns | columns, known.optional)
    return needed
