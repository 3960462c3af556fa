"""The logs: the identity, its access to the workspaces, their tables and rows; or a folder of files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from typing import NamedTuple

from detection.app import open_source
from detection.base.errors import Incomplete
from detection.check.checklist import Finding, catch_errors, error_finding, green, red, yellow
from detection.check.context import CheckContext
from detection.check.evaluation import (
    LOOK_BACK,
    SourceArrivals,
    duration_text,
    evaluate_age,
    evaluate_clock,
    evaluate_coverage,
    evaluate_cut,
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
    CUT_COLUMN,
    NOW_COLUMN,
    SCHEMA_COLUMNS,
    arrival_query,
    coverage_query,
    cut_query,
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

RETRY_FOR = 60.0  # seconds in which a query may be retried

TableSchema = dict[str, str]  # a table's columns with their types


class RuleSource(NamedTuple):
    """A source of rules, with one of them, its side, and the least lateness that all of them allow."""

    name: str
    rule: Rule
    side: str
    allowed_lateness: timedelta


class TableNeeds(NamedTuple):
    """The columns that the rules need of a table."""

    columns: dict[str, KqlType]
    optional: bool


@dataclass
class WorkspaceChecks:
    """The checks of the workspaces. Earlier checks store clients and schemas for later checks."""

    context: CheckContext
    reached_clients: dict[str, LogAnalytics] = field(default_factory=dict)
    schemas: dict[tuple[str, str], TableSchema] = field(default_factory=dict)  # by workspace and table

    def check_token(self) -> Iterator[Finding]:
        """Whether there is an identity, and its name."""
        settings = self.context.settings
        if not settings.LOG_ANALYTICS_WORKSPACE_ID:
            yield red("token", "No logs are configured.", "Set LOG_ANALYTICS_WORKSPACE_ID or LOGS_DIR.")
            return
        token = token_for(settings.LOG_ANALYTICS_ENDPOINT, settings.AZURE_CLIENT_ID)
        yield green("token", token_identity(token))

    def check_access(self) -> Iterator[Finding]:
        """Whether each workspace answers a query of this identity."""
        for workspace, client in self.context.single_workspaces.items():
            name = f"workspace {workspace}"
            with catch_errors(name) as findings:
                client.run_query(name, "print Reached = 1", RETRY_FOR)
                self.reached_clients[workspace] = client
                findings.append(green(name, "Answers queries."))
            yield from findings

    def check_tables(self) -> Iterator[Finding]:
        """Whether each workspace has the tables and columns of the rules' KQL, on a queryable plan."""
        needs_by_table: dict[str, TableNeeds] = {}
        for rule in self.context.rules:
            for table, columns in needed_columns(rule).items():
                needs = needs_by_table.get(table, TableNeeds({}, rule.tables[table].optional))
                needs_by_table[table] = TableNeeds(needs.columns | columns, needs.optional)
        # None: the workspace lacks the table.
        results: dict[tuple[str, str], TableSchema | Finding | None] = {}
        for workspace, table in product(self.reached_clients, needs_by_table):
            name, (column, kind) = self._qualified(f"table {table}", workspace), SCHEMA_COLUMNS
            try:
                answer = self.reached_clients[workspace].run_query(name, schema_query(table), RETRY_FOR)
                schema = {str(row[column]): str(row[kind]) for row in rows_of(answer, SCHEMA_COLUMNS)}
            except Exception as error:  # noqa: BLE001  # the next tables have to be checked
                codes = error.codes if isinstance(error, QueryRefused) else ()
                if UNKNOWN_NAME in codes:
                    results[workspace, table] = None
                else:
                    finding = evaluate_plan(name) if WRONG_PLAN in codes else error_finding(name, error)
                    results[workspace, table] = finding
            else:
                results[workspace, table] = self.schemas[workspace, table] = schema
        for (workspace, table), result in results.items():
            name, needs = self._qualified(f"table {table}", workspace), needs_by_table[table]
            if isinstance(result, Finding):
                yield result
            elif result is None:
                elsewhere = any(table == other_table for _, other_table in self.schemas)
                yield evaluate_missing_table(name, optional=needs.optional, elsewhere=elsewhere)
            else:
                yield evaluate_table(name, needs.columns, result, optional=needs.optional)

    def check_sources(self) -> Iterator[Finding]:
        """How old the newest row of each source is, and how long its rows take to arrive."""
        for workspace, client in self.reached_clients.items():
            for source in sources_of(self.context):
                if not any(
                    (workspace, table) in self.schemas for table in tables_of(source.rule, source.side)
                ):
                    continue
                newest_name = self._qualified(f"newest row of {source.name}", workspace)
                arrival_name = self._qualified(f"arrival of {source.name}", workspace)
                with catch_errors(newest_name) as findings:
                    now = self.context.clock()
                    query = arrival_query(source.rule, source.side, now - LOOK_BACK)
                    arrivals = parse_arrivals(client.run_query(newest_name, query, RETRY_FOR))
                    findings.append(evaluate_age(newest_name, arrivals, now, LOOK_BACK))
                    findings.append(evaluate_delay(arrival_name, arrivals, source.allowed_lateness))
                yield from findings
                yield from self._check_cut(client, source, workspace)

    def check_queries(self) -> Iterator[Finding]:
        """Whether all workspaces together accept the queries of a run."""
        for rule in self.context.rules:
            name = f"queries of {rule.folder}"
            with catch_errors(name) as findings:
                texts = trial_queries(rule, self.context.clock())
                for query_name, query in texts.items():
                    self.context.logs.run_query(f"{rule.folder}, {query_name}", query, RETRY_FOR)
                findings.append(
                    green(name, f"All workspaces accept the queries of a run: {', '.join(texts)}.")
                )
            yield from findings

    def check_identities(self) -> Iterator[Finding]:
        """Whether identities in the signals' source match actors in the changes' source."""
        for rule in filter(has_coverage, self.context.rules):
            name = f"identities of {rule.folder}"
            with catch_errors(name) as findings:
                query = coverage_query(rule, self.context.clock())
                answer = self.context.logs.run_query(name, query, RETRY_FOR)
                coverage = parse_coverage(answer.take_rows(COVERAGE_COLUMNS), rule)
                findings.append(evaluate_coverage(name, coverage))
            yield from findings

    def check_operators(self) -> Iterator[Finding]:
        """Whether the service's operators work as the rules expect, and this machine's clock is right."""
        lines, client = truth_lines(), next(iter(self.reached_clients.values()))
        before = self.context.clock()
        answer = client.run_query("operators", truth_query(lines), RETRY_FOR)
        midpoint = before + (self.context.clock() - before) / 2
        row = rows_of(answer, answer.columns)[0]
        yield evaluate_operators("operators", wrong_lines(lines, row), len(lines))
        yield evaluate_clock("clock", midpoint - datetime.fromisoformat(str(row[NOW_COLUMN])))

    def _check_cut(self, client: LogAnalytics, source: RuleSource, workspace: str) -> Iterator[Finding]:
        """Whether Log Analytics cut the field that holds the actor of rows."""
        cut = source.rule.sequence.sides[source.side].cut
        if not cut:
            return
        name = self._qualified(f"cut rows of {source.name}", workspace)
        with catch_errors(name) as findings:
            since = self.context.clock() - LOOK_BACK
            query = cut_query(source.rule, source.side, since)
            [row] = rows_of(client.run_query(name, query, RETRY_FOR), [CUT_COLUMN])
            if count := int(str(row[CUT_COLUMN])):
                findings.append(evaluate_cut(name, count, cut.column, LOOK_BACK))
        yield from findings

    def _qualified(self, label: str, workspace: str) -> str:
        """The label, with the workspace if there are several."""
        return label if len(self.context.single_workspaces) == 1 else f"{label} in {workspace}"


def sources_of(context: CheckContext) -> list[RuleSource]:
    """The sources of all rules, without duplicates."""
    settings, sources = context.settings, dict[str, RuleSource]()
    for rule in context.rules:
        allowed_lateness = usable_lateness(rule, settings.ALLOWED_LATENESS)
        for side_name, side in rule.sequence.sides.items():
            source = sources.get(side.source, RuleSource(side.source, rule, side_name, allowed_lateness))
            sources[side.source] = source._replace(
                allowed_lateness=min(source.allowed_lateness, allowed_lateness)
            )
    return list(sources.values())


def parse_arrivals(answer: AnswerTable) -> SourceArrivals:
    """The answer to arrival_query, or to newest_query, which measures no delays."""
    [row] = rows_of(answer, [name for name in ARRIVAL_COLUMNS if name in answer.columns])
    longest_delay, percentile_99 = (
        None if row.get(name) is None else timedelta(seconds=float(str(row[name])))
        for name in ("Longest", "Most")
    )
    newest = datetime.fromisoformat(str(row["Newest"])) if row["Newest"] else None
    return SourceArrivals(int(str(row["Rows"])), newest, longest_delay, percentile_99)


def rows_of(answer: AnswerTable, columns: Sequence[str]) -> list[dict[str, object]]:
    """The rows of a small answer. Raises Incomplete if the answer lacks a column or has no row."""
    missing = [name for name in columns if name not in answer.columns]
    if missing or not answer.rows:
        raise Incomplete(f"The answer of the query API has no {', '.join(missing) or 'row'}.")
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def check_folder(context: CheckContext) -> Iterator[Finding]:
    """Whether the rules can read the files in the folder, and how many rows a run would read now."""
    now = context.clock()
    for rule in context.rules:
        source = open_source(context.settings, rule, context.clock)
        logs = source.read(rule, plan_windows(now, None, rule))
        for side, side_health in logs.health.items():
            name = f"{side} of {rule.folder}"
            if side_health.newest is None:
                remedy = "If the export is old, `matches --at TIME` evaluates the rule at its time."
                yield yellow(name, "Readable, but a run now would find no row in its windows.", remedy)
            else:
                age = duration_text(now - side_health.newest)
                rows = plural(side_health.rows, "row")
                yield green(name, f"Readable. A run now would read {rows}, the newest {age} old.")
    yield green("workspace", "The logs are files in LOGS_DIR, so no query service is checked.")
