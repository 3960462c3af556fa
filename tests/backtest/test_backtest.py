"""`backtest` as its users meet it: the figures, the report, what keeps the noise down, and what is said to wrong input."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from detection.backtest.backtest import Backtest, make_plan, run_backtest
from detection.backtest.page import render_page
from detection.cli.demo_data import load_scenario, write_logs
from detection.cli.options import environment_job
from detection.logs.history.files import open_file_archive
from detection.rules.loading import default_rule, load_rule
from detection.rules.model import Rule
from detection.rules.silences import Silence
from tests.cli.test_main import CommandResult, run
from tests.support import azurite, raw_logs
from tests.support.builders import HOUR, RULE
from tests.support.query_api import QueryApi, error, partial, query_api, tables_of

BEGIN = datetime(2026, 6, 8, tzinfo=UTC)
RUNS = ("--from", "2026-06-09T00:05:00Z", "--to", "2026-06-10T23:05:00Z")
SILENCE_FIELDS = {"owner": "soc@example.com", "reason": "it is ours"}

LOUD = {"victor", "peggy", "trainee", "wendy"}  # their abuse, load test, storm and high volume

Json = dict[str, Any]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs of the demo without its loudest people."""
    folder = tmp_path_factory.mktemp("story")
    scenario = load_scenario()
    calm = [activity for activity in scenario.activities if activity.person not in LOUD]
    write_logs(folder, BEGIN, scenario=replace(scenario, activities=calm))
    return folder


@pytest.fixture(scope="module", autouse=True)
def _nothing_set() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("STORM_ALERTS", "ALLOWED_LATENESS", "FLOOD_SIGNALS", "MAX_CATCH_UP"):
            monkeypatch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def demo(logs: Path) -> CommandResult:
    """The backtest of these logs."""
    return backtest(logs, "--format", "json")


@pytest.fixture(scope="module")
def stormy(logs: Path) -> CommandResult:
    """The same, where a second alert makes a storm."""
    return backtest(logs, "--format", "json", "--set", "STORM_ALERTS=1")


@pytest.fixture(scope="module")
def baseline(logs: Path) -> Backtest:
    """The same, of the rule as it stands here."""
    return backtest_rule(logs, RULE)


def backtest(logs: Path, *options: object) -> CommandResult:
    return run("backtest", "--logs", logs, *RUNS, *options)


def figures(ran: CommandResult) -> Json:
    assert ran.code == 0, ran.err
    totals: Json = ran.objects[0]["figures"]
    return totals


def backtest_rule(logs: Path, rule: Rule, *silences: Silence, sets: tuple[str, ...] = ()) -> Backtest:
    """A backtest of a rule as it stands here."""
    plan = make_plan(default_rule(), BEGIN + 24 * HOUR, BEGIN + 71 * HOUR, sets, {})
    plan = type(plan)(rule, plan.published, plan.settings, plan.run_times, plan.overridden)
    with open_file_archive(logs, rule.tables) as archive:
        return run_backtest(plan, archive, silences, lambda runs, _number, _label: runs)


# ------------------------------------------------------------------------------------------------------- the figures


def test_it_tells_what_the_runs_tell_and_compares_the_published_rule_alike(demo: CommandResult) -> None:
    totals = figures(demo)
    assert [totals[name] for name in ("runs", "pairs", "alerts", "incidents", "messages")] == [
        48,
        80,
        15,
        8,
        15,
    ]
    assert demo.objects[0]["published"] == {"returned": 1595, "repeated": 1524, "missed": 10, "false": 1}


def test_days_actors_and_severities_add_up_to_the_whole(demo: CommandResult) -> None:
    totals = figures(demo)

    for parts in (totals["days"], totals["actors"]["top"], totals["severities"]["top"]):
        assert sum(part["alerts"] for part in parts) == totals["alerts"]
        assert sum(part["pairs"] for part in parts) == totals["pairs"]


def test_each_pair_falls_to_one_kind_of_change_and_one_of_signal(demo: CommandResult) -> None:
    totals = figures(demo)

    for parts in (totals["changes"]["top"], totals["signals"]["top"]):
        assert sum(part["pairs"] for part in parts) == totals["pairs"]


def test_a_storm_is_one_message(demo: CommandResult, stormy: CommandResult) -> None:
    calm, storm = figures(demo), figures(stormy)

    assert calm["digests"] == 0
    assert storm["alerts"] == calm["alerts"]
    assert storm["digests"] > 0
    assert storm["messages"] < calm["messages"]


def test_settings_are_those_of_the_environment(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORM_ALERTS", "1")
    monkeypatch.setenv("WEBHOOKS", "not looked at here")

    ran = backtest(logs, "--format", "json")

    assert ran.objects[0]["settings"]["STORM_ALERTS"] == "1"
    assert figures(ran)["digests"] > 0


@pytest.fixture(scope="module")
def stamped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of an export that does not say when rows arrived."""
    folder = tmp_path_factory.mktemp("stamped")
    times = [BEGIN + number * HOUR / 3 for number in range(150)]
    sides = [
        [
            build(f"{name}{index}", f"user{index % 5}@example.com", time, arrived=time)
            for index, time in enumerate(times)
        ]
        for name, build in (("c", raw_logs.audit), ("s", raw_logs.completion))
    ]
    raw_logs.write(folder, *([{**row, "_ingested": None} for row in side] for side in sides))
    return folder


@pytest.fixture(scope="module")
def exported(stamped: Path) -> CommandResult:
    """The backtest of that export."""
    return backtest(stamped, "--format", "json")


@pytest.fixture
def workspace(stamped: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[QueryApi]:
    """The same rows in a workspace."""
    with tables_of(stamped, RULE.tables) as tables, query_api(tables) as api:
        monkeypatch.setenv("LOG_ANALYTICS_ENDPOINT", api.endpoint)
        yield api


def backtest_workspace(*options: object) -> CommandResult:
    return run("backtest", "--workspace", UUID(int=1), *RUNS, *options)


def test_a_workspace_gives_the_same_as_an_export_of_it(exported: CommandResult, workspace: QueryApi) -> None:
    [export_result] = exported.objects
    workspace_result = backtest_workspace("--format", "json").objects[0]

    assert workspace_result == {**export_result, "rejected": workspace_result["rejected"]}
    assert export_result["figures"]["pairs"] > 0
    assert len(workspace.requests) == 6  # three questions for each of two rules, for 48 runs


def test_what_one_answer_of_a_workspace_cannot_hold_is_asked_for_in_halves(
    exported: CommandResult, workspace: QueryApi
) -> None:
    workspace.amend = lambda body: partial(body) if len(body["tables"][0]["rows"]) > 100 else body

    ran = backtest_workspace("--format", "json")

    assert figures(ran) == figures(exported)
    assert len(workspace.requests) > 6


def test_a_workspace_that_fails_is_told_in_a_sentence(workspace: QueryApi) -> None:
    workspace.fault = lambda _: error(403, "InsufficientAccessError", "no access")

    ran = backtest_workspace()

    assert ran.code == 2
    assert "Log Analytics Data Reader" in ran.err
    assert "Traceback" not in ran.err


# -------------------------------------------------------------------------------------- what keeps the noise down


def test_an_exclusion_removes_what_would_come_without_it(logs: Path, baseline: Backtest) -> None:
    alice = Silence.model_validate({**SILENCE_FIELDS, "name": "alice", "actor": "alice@*"})

    excluded = backtest_rule(logs, RULE.model_copy(update={"exclusions": (alice,)}))

    [reduction] = excluded.noise_reductions
    assert (reduction.removed_by, reduction.in_place) == ("exclusion alice", True)
    assert (
        reduction.pairs
        == baseline.figures.pairs - excluded.figures.pairs
        == excluded.figures.silenced["alice"]
    )
    assert reduction.alerts == baseline.figures.alerts - excluded.figures.alerts
    assert reduction.messages == baseline.figures.messages - excluded.figures.messages


def test_a_silence_is_tried_as_if_it_stood_all_the_time(logs: Path, baseline: Backtest) -> None:
    long_over = Silence.model_validate(
        {**SILENCE_FIELDS, "name": "old", "actor": "alice@*", "expires": datetime(2020, 1, 1)}
    )

    result = backtest_rule(logs, RULE, long_over)

    assert result.figures == baseline.figures
    [reduction] = result.noise_reductions
    assert (reduction.removed_by, reduction.in_place) == ("silence old", False)
    alice = next(actor for actor in result.figures.actors.top if actor.name.startswith("alice"))
    assert (reduction.alerts, reduction.pairs) == (alice.alerts, alice.pairs)


def test_silences_are_those_of_the_incident_table(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with azurite.running() as port:
        monkeypatch.setenv("INCIDENT_STORAGE", azurite.connection_string(port))
        environment_job().desk.silence(
            RULE, Silence.model_validate({**SILENCE_FIELDS, "name": "carol", "actor": "carol@*"})
        )

        ran = backtest(logs, "--format", "json", "--silences")

    [reduction] = ran.objects[0]["noise_reductions"]
    assert (reduction["removed_by"], reduction["alerts"]) == ("silence carol", 2)


def test_a_minimum_says_what_it_removes(logs: Path, demo: CommandResult) -> None:
    ran = backtest(logs, "--format", "json", "--set", "threshold.length=50")

    [reduction] = ran.objects[0]["noise_reductions"]
    assert reduction["removed_by"] == "threshold length: 50"
    assert reduction["pairs"] == figures(demo)["pairs"] - figures(ran)["pairs"] > 0


def test_a_threshold_removes_the_pair_of_the_change_that_reaches_fewer(tmp_path: Path) -> None:
    signals = [("s1", BEGIN + 45 * HOUR), ("s2", BEGIN + 64 * HOUR)]
    raw_logs.write(
        tmp_path,
        [
            raw_logs.audit(name, "mallory@example.com", time, arrived=time)
            for name, time in (("c1", BEGIN + 24 * HOUR), ("c2", BEGIN + 44 * HOUR))
        ],
        [
            raw_logs.completion(name, "mallory@example.com", time, reason="length", arrived=time)
            for name, time in signals
        ],
    )

    ran = backtest(tmp_path, "--format", "json", "--set", "threshold.length=2")

    totals, [reduction] = figures(ran), ran.objects[0]["noise_reductions"]
    assert (totals["pairs"], reduction["pairs"]) == (2, 1)  # (c2, s1) and (c2, s2), without (c1, s1)
    assert totals["suppressed"]["below_threshold"] == 2  # before s2, (c2, s1) too


def test_a_rule_that_observes_pages_nobody_and_says_what_paging_would_send(logs: Path) -> None:
    ran = backtest(logs, "--format", "json", "--set", "on_call.mode=observe")

    [reduction] = ran.objects[0]["noise_reductions"]
    assert (figures(ran)["messages"], figures(ran)["alerts"]) == (0, 15)
    assert (reduction["removed_by"], reduction["messages"], reduction["alerts"]) == ("mode: observe", 15, 0)


def test_the_digest_of_storms_says_how_many_messages_it_saves(stormy: CommandResult) -> None:
    [reduction] = stormy.objects[0]["noise_reductions"]
    assert reduction["removed_by"] == "digest of more than 1 alerts"
    assert reduction["messages"] + figures(stormy)["messages"] == figures(stormy)["alerts"]


# -------------------------------------------------------------------------------------------------------- the report


class Texts(HTMLParser):
    """The texts of a page by the id of the element that they are in, all tags, and all attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.by_id: dict[str, str] = {}
        self.tags: set[str] = set()
        self.attributes: dict[str, list[str]] = {}
        self._open: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
        if tag not in ("meta", "rect", "line"):
            self._open.append(dict(attrs).get("id"))

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line"):
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for name in filter(None, self._open):
            self.by_id[name] = self.by_id.get(name, "") + data


@pytest.fixture(scope="module")
def reported(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Json, str]:
    """The result as JSON, and the report of the same backtest."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    ran = backtest(logs, "--format", "json", "--set", "threshold.length=5", "--report", file)
    assert file.stat().st_mode & 0o777 == 0o600  # it names people
    assert ran.code == 0
    return ran.objects[0], file.read_text(encoding="utf-8")


def test_the_report_says_the_numbers_of_the_json(reported: tuple[Json, str]) -> None:
    result, text = reported
    texts_by_id = Texts(text).by_id

    for name in ("messages", "alerts", "pairs", "incidents"):
        assert texts_by_id[name] == f"{result['figures'][name]:,}"
    for name, number in result["published"].items():
        assert texts_by_id[name] == f"{number:,}"
    for day in result["figures"]["days"]:
        assert f"{day['day']}: {day['alerts']} alerts" in text
    for row in result["figures"]["actors"]["top"]:
        assert re.search(rf"{row['name']}\s+{row['alerts']}\s*{row['pairs']}\s", texts_by_id["actor"])
    [row] = result["noise_reductions"]
    assert re.sub(r"\s+", " ", texts_by_id["removed"]).endswith(
        f"threshold length: 5{row['messages']}{row['alerts']}{row['pairs']} "
    )
    assert "sequence.threshold.length=5" in text


def test_the_report_needs_nothing_and_lets_nothing_in(reported: tuple[Json, str]) -> None:
    _, text = reported
    texts = Texts(text)

    assert not texts.tags & {"script", "link", "img", "iframe", "form", "object", "a"}
    assert not texts.attributes.keys() & {"style", "src", "href", "onclick", "onload"}
    style = text.partition("<style>")[2].partition("</style>")[0]
    policy = next(content for content in texts.attributes["content"] if "default-src" in content)
    assert policy.startswith("default-src 'none'")
    assert f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert "http" not in text.replace("http-equiv", "")


HOSTILE = "<script>alert(1)</script>[red]\u202e\x1b[31m'\"@example.com"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Logs of somebody who hopes that they are obeyed."""
    time = BEGIN + 30 * HOUR
    raw_logs.write(
        tmp_path,
        [raw_logs.audit("c", HOSTILE, time, kind="role.<b>.created", arrived=time)],
        [raw_logs.completion("s", HOSTILE, time + HOUR / 2, arrived=time + HOUR / 2)],
    )
    return tmp_path


def test_what_the_logs_say_is_text_in_the_report(hostile: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert figures(backtest(hostile, "--format", "json", "--report", file))["alerts"] == 1

    text = file.read_text(encoding="utf-8")
    assert "script" not in Texts(text).tags
    assert "b" not in Texts(text).tags
    assert not set(text) & {"\u202e", "\x1b"}
    assert "&lt;script&gt;" in text


def test_what_the_logs_say_is_text_in_the_terminal(hostile: Path) -> None:
    ran = backtest(hostile)

    assert "<script>alert(1)</script>[red]\\u202e\\u001b[31m" in ran.out
    assert not set(ran.out) & {"\u202e", "\x1b"}


def test_a_range_without_anything_is_told_as_such(tmp_path: Path) -> None:
    raw_logs.write(tmp_path, [raw_logs.audit("c", "ann@example.com", BEGIN - 99 * HOUR, arrived=BEGIN)], [])
    file = tmp_path / "report.html"

    assert figures(backtest(tmp_path, "--format", "json", "--report", file))["alerts"] == 0
    assert "There was no alert." in file.read_text(encoding="utf-8")


def test_the_terminal_has_the_days_and_what_the_published_rule_misses(logs: Path) -> None:
    out = backtest(logs).out

    assert "alerted            80 pairs in 15 alerts, 8 incidents" in out
    assert "missed 10 pairs alerted here, and returned 1 pair not alerted here" in out
    assert re.search(r"Tue 09 Jun │ +24 │ +10 │ +10 │ +63 │ +6", out)


# ------------------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    "options,message",
    [
        (
            ("--set", "witin=PT1H"),
            "--set witin: there is no such setting or key of rule.yaml; did you mean within?",
        ),
        (("--set", "within=12"), "sequence.within: "),
        (("--set", "within"), "--set 'within' must be key=value"),
        (
            ("--set", "query=x"),
            "--set query is ambiguous; use sequence.changes.query or sequence.signals.query",
        ),
        (("--set", "STORM_ALERTS=0"), "settings: STORM_ALERTS: "),
        (("--set", "threshold.lenght=2"), "threshold: lenght is not a kind in signals.labels"),
        (("--workspace", UUID(int=1)), "give either --logs or --workspace"),
        (("--rule", "none-such"), "unknown rule 'none-such'"),
        (
            ("--to", "2026-06-08T00:05:00Z"),
            "there is no run: the end 2026-06-08T00:05:00Z is before the start",
        ),
        (("--report", "/nowhere/report.html"), "/nowhere/report.html cannot be written to: "),
    ],
)
def test_wrong_input_is_one_sentence_that_says_what_to_do(
    logs: Path, options: tuple[object, ...], message: str
) -> None:
    ran = backtest(logs, *options)

    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    ran = backtest(tmp_path)

    assert ran.code == 2
    assert f"{tmp_path}: it has no file OpenAIAuditLogs_CL*.jsonl, .csv or .parquet" in ran.err


def test_a_broken_file_is_an_error_of_the_data(tmp_path: Path) -> None:
    for name in ("OpenAIAuditLogs_CL", "ASimAgentEventLogs"):
        (tmp_path / f"{name}.parquet").write_text("no Parquet")

    ran = backtest(tmp_path)

    assert ran.code == 1
    assert "cannot be read as parquet" in ran.err


def test_page_is_written_for_every_shipped_rule(logs: Path) -> None:
    published = load_rule("openai-config-to-abuse-sentinel")
    assert "<h1>Backtest: " in render_page(backtest_rule(logs, published), published)


def test_json_is_one_line_and_nothing_else(demo: CommandResult) -> None:
    [line] = demo.out.splitlines()
    assert list(json.loads(line)) == list(Backtest.__dataclass_fields__)
