"""What the query API says: who asks, whether it may, and what the workspaces hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from detection.app import open_source
from detection.base.errors import Incomplete
from detection.check.checklist import Finding, error_finding, green, red, run_check, yellow
from detection.check.context import CheckContext
from detection.check.evaluation import (
    LOOK_BACK,
    SourceArrivals,
    duration_text,
    evaluate_age,
    evaluate_clock,
    evaluate_coverage,
    evaluate_delay,
    evaluate_missing_table,
    evaluate_operators,
    evaluate_plan,
    evaluate_table,
    token_identity,
    usable_lateness,
)
from detection.check.questions import (
    ARRIVAL_COLUMNS,
    NOW_COLUMN,
    SCHEMA_COLUMNS,
    arrival_query,
    coverage_query,
    needed_columns,
    schema_query,
    trial_queries,
    truth_lines,
    truth_query,
    wrong_lines,
)
from detection.logs.coverage import parse_coverage
from detection.logs.kql import COVERAGE_COLUMNS, has_coverage, tables_of
from detection.logs.log_analytics.answers import UNKNOWN_NAME, WRONG_PLAN, AnswerTable, QueryRefused
from detection.logs.log_analytics.client import LogAnalytics, token_for
from detection.logs.window import plan_windows
from detection.messages.text import plural
from detection.rules.model import KqlType, Rule

RETRY_FOR = 60.0  # seconds in which a question may be sent again

TableSchema = dict[str, str]  # a table's columns with their types


class RuleSource(NamedTuple):
    """What one or several rules read, as one of them names it; `usable` is the least lateness that they allow."""

    name: str
    rule: Rule
    side: str
    allowed_lateness: timedelta


class TableNeeds(NamedTuple):
    """What the rules need of a table."""

    columns: dict[str, KqlType]
    optional: bool


@dataclass
class WorkspaceChecks:
    """The workspaces, one by one; what the first checks find, the later ones go by."""

    context: CheckContext
    reached_clients: dict[str, LogAnalytics] = field(default_factory=dict)
    schemas: dict[tuple[str, str], TableSchema] = field(default_factory=dict)  # by workspace and table

    def check_token(self) -> Iterator[Finding]:
        """Whether there is an identity, and which."""
        settings = self.context.settings
        if not settings.LOG_ANALYTICS_WORKSPACE_ID:
            yield red("token", "there are no logs to ask for", "set LOG_ANALYTICS_WORKSPACE_ID, or LOGS_DIR")
            return
        token = token_for(settings.LOG_ANALYTICS_ENDPOINT, settings.AZURE_CLIENT_ID)
        yield green("token", token_identity(token))

    def check_access(self) -> Iterator[Finding]:
        """Whether each workspace answers this identity."""
        for workspace, client in self.context.single_workspaces.items():
            name = f"workspace {workspace}"
            try:
                client.run_query(name, "print Reached = 1", RETRY_FOR)
            except Exception as error:  # noqa: BLE001  # the next one has to be tried
                yield error_finding(name, error)
            else:
                self.reached_clients[workspace] = client
                yield green(name, "answers")

    def check_tables(self) -> Iterator[Finding]:
        """Whether the tables are there with the columns that the rules' KQL names, on the plan that can be queried."""
        needs_by_table = _needs_by_table(self.context.rules)
        answers = [
            (workspace, table, self._read_schema(workspace, table))
            for workspace in self.reached_clients
            for table in needs_by_table
        ]
        for workspace, table, answer in answers:
            name, needs = self._qualified(f"table {table}", workspace), needs_by_table[table]
            if isinstance(answer, Finding):
                yield answer
            elif answer is None:
                elsewhere = any(table == other_table for _, other_table in self.schemas)
                yield evaluate_missing_table(name, optional=needs.optional, elsewhere=elsewhere)
            else:
                yield evaluate_table(name, needs.columns, answer, optional=needs.optional)

    def check_sources(self) -> Iterator[Finding]:
        """How old the newest rows are, and how long rows take to arrive."""
        for workspace, client in self.reached_clients.items():
            for source in sources_of(self.context):
                if any((workspace, table) in self.schemas for table in tables_of(source.rule, source.side)):
                    name = self._qualified(f"newest row of {source.name}", workspace)
                    yield from run_check(name, partial(self._check_source, source, workspace, client))

    def _check_source(self, source: RuleSource, workspace: str, client: LogAnalytics) -> Iterator[Finding]:
        newest_name, arrival_name = (
            self._qualified(f"{label} {source.name}", workspace) for label in ("newest row of", "arrival of")
        )
        now = self.context.clock()
        query = arrival_query(source.rule, source.side, now - LOOK_BACK, inline=self.context.inline)
        arrivals = parse_arrivals(client.run_query(newest_name, query, RETRY_FOR))
        yield evaluate_age(newest_name, arrivals, now, LOOK_BACK)
        yield evaluate_delay(arrival_name, arrivals, source.allowed_lateness)

    def check_queries(self) -> Iterator[Finding]:
        """Whether what a run asks is taken, by all workspaces as one."""
        for rule in self.context.rules:
            name = f"queries of {rule.folder}"
            yield from run_check(name, partial(self._check_rule_queries, rule, name))

    def _check_rule_queries(self, rule: Rule, name: str) -> Iterator[Finding]:
        texts = trial_queries(rule, self.context.clock(), inline=self.context.inline)
        for query_name, query in texts.items():
            self.context.logs.run_query(f"{rule.folder}, {query_name}", query, RETRY_FOR)
        yield green(name, f"{', '.join(texts)}: as a run sends them, taken by all workspaces")

    def check_identities(self) -> Iterator[Finding]:
        """Whether those whom the signals' source names could be those whom the changes' source names."""
        for rule in filter(has_coverage, self.context.rules):
            name = f"identities of {rule.folder}"
            yield from run_check(name, partial(self._check_rule_identities, rule, name))

    def _check_rule_identities(self, rule: Rule, name: str) -> Iterator[Finding]:
        query = coverage_query(rule, self.context.clock(), inline=self.context.inline)
        answer = self.context.logs.run_query(name, query, RETRY_FOR)
        yield evaluate_coverage(name, parse_coverage(answer.take_rows(COVERAGE_COLUMNS), rule))

    def check_operators(self) -> Iterator[Finding]:
        """Whether the operators mean what the rules take them to mean, and whether our clock is right."""
        lines, client = truth_lines(), next(iter(self.reached_clients.values()))
        before = self.context.clock()
        answer = client.run_query("operators", truth_query(lines), RETRY_FOR)
        after = self.context.clock()
        row = rows_of(answer, answer.columns)[0]
        yield evaluate_operators("operators", wrong_lines(lines, row), len(lines))
        yield evaluate_clock(
            "clock", before + (after - before) / 2 - datetime.fromisoformat(str(row[NOW_COLUMN]))
        )

    def _read_schema(self, workspace: str, table: str) -> TableSchema | Finding | None:
        """A table's schema; None where there is no such table, a finding where there is no answer."""
        name, (column, kind) = self._qualified(f"table {table}", workspace), SCHEMA_COLUMNS
        try:
            answer = self.reached_clients[workspace].run_query(name, schema_query(table), RETRY_FOR)
            schema = {str(row[column]): str(row[kind]) for row in rows_of(answer, SCHEMA_COLUMNS)}
        except Exception as error:  # noqa: BLE001  # the next table has to be tried
            codes = error.codes if isinstance(error, QueryRefused) else ()
            if UNKNOWN_NAME in codes:
                return None
            return evaluate_plan(name) if WRONG_PLAN in codes else error_finding(name, error)
        self.schemas[workspace, table] = schema
        return schema

    def _qualified(self, label: str, workspace: str) -> str:
        """A name, with the workspace in it where there are several."""
        return label if len(self.context.single_workspaces) == 1 else f"{label} in {workspace}"


def sources_of(context: CheckContext) -> list[RuleSource]:
    """What the rules read, each once."""
    settings, sources = context.settings, dict[str, RuleSource]()
    for rule in context.rules:
        allowed_lateness = usable_lateness(rule, settings.ALLOWED_LATENESS, settings.MAX_CATCH_UP)
        for side_name, side in rule.sequence.sides.items():
            source = sources.get(side.source, RuleSource(side.source, rule, side_name, allowed_lateness))
            sources[side.source] = source._replace(
                allowed_lateness=min(source.allowed_lateness, allowed_lateness)
            )
    return list(sources.values())


def parse_arrivals(answer: AnswerTable) -> SourceArrivals:
    """The answer to a query for a source's newest row, with or without delays."""
    [row] = rows_of(answer, [name for name in ARRIVAL_COLUMNS if name in answer.columns])
    longest_delay, percentile_99 = (row.get(name) for name in ("Longest", "Most"))
    return SourceArrivals(
        rows=int(str(row["Rows"])),
        newest=datetime.fromisoformat(str(row["Newest"])) if row["Newest"] else None,
        longest_delay=_seconds(longest_delay),
        percentile_99=_seconds(percentile_99),
    )


def rows_of(answer: AnswerTable, columns: Sequence[str]) -> list[dict[str, object]]:
    """The rows of a small answer. Raises Incomplete when it lacks a column or has no row."""
    missing = [name for name in columns if name not in answer.columns]
    if missing or not answer.rows:
        raise Incomplete(f"the query API's answer has no {', '.join(missing) or 'row'}")
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def _seconds(value: object) -> timedelta | None:
    return None if value is None else timedelta(seconds=float(str(value)))


def _needs_by_table(rules: Sequence[Rule]) -> dict[str, TableNeeds]:
    """What the rules need of each table."""
    needs_by_table: dict[str, TableNeeds] = {}
    for rule in rules:
        for table, columns in needed_columns(rule).items():
            needs = needs_by_table.get(table, TableNeeds({}, rule.tables[table].optional))
            needs_by_table[table] = TableNeeds(needs.columns | columns, needs.optional)
    return needs_by_table


def check_folder(context: CheckContext) -> Iterator[Finding]:
    """Whether the folder's files can be read by the rules, and what a run would see of them now."""
    now = context.clock()
    for rule in context.rules:
        health_by_side = (
            open_source(context.settings, rule, context.clock)
            .read(rule, plan_windows(now, None, rule))
            .health
        )
        for side, side_health in health_by_side.items():
            name = f"{side} of {rule.folder}"
            if side_health.newest is None:
                yield yellow(
                    name,
                    "read; no row in the windows of a run now",
                    "exports are old: `matches --at` asks at their time",
                )
            else:
                yield green(
                    name,
                    f"read; {plural(side_health.rows, 'row')} in the windows of a run now, the newest {duration_text(now - side_health.newest)} ago",
                )
    message = (
        "logs come from LOGS_DIR: there is no token, plan, arrival, operator or clock of a service to ask for"
    )
    yield green("workspace", message)
