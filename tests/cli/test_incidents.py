"""`incidents list` and `incidents show`: filters as on the page, beginnings of ids, an incident on a screen."""

from datetime import timedelta

import pytest
from typer.testing import CliRunner, Result

from detection.base.errors import ConfigurationError
from detection.cli import incidents
from detection.cli.main import app
from detection.incidents.incident import Incident
from detection.store.layout import incident_operations
from detection.store.table import Put
from tests.support.builders import DAY, HOUR, RULE, START, change, signal
from tests.support.page_world import PageWorld

HOSTILE = "\x1b[2J\u202eeve@example.com"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> PageWorld:
    page_world = PageWorld(now=START + DAY)
    monkeypatch.setattr(incidents, "environment_job", lambda: page_world.job)
    monkeypatch.setattr(incidents, "clock", lambda: page_world.now)
    return page_world


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["incidents", *arguments])


def test_list_has_severity_title_and_last_new_in_the_order_of_the_page(world: PageWorld) -> None:
    first_id, second_id = (
        world.incident("ann@example.com"),
        world.incident("bob@example.com", now=START + HOUR),
    )
    header, *rows = run("list", "--format", "csv").stdout.splitlines()
    assert header.startswith("id,severity,status,last_new,title,alerts,pairs,acknowledged_by,assignee")
    assert [row.split(",")[:4] for row in rows] == [
        [second_id, "High", "new", "2026-03-02T11:00:00Z"],
        [first_id, "High", "new", "2026-03-02T10:00:00Z"],
    ]
    assert "bob@example.com created an API key, then hit the content filter 3 times" in rows[0]


def test_list_filters_as_the_page_does(world: PageWorld) -> None:
    ann, bob = world.incident("ann@example.com"), world.incident("bob@example.com", now=START + HOUR)
    world.post(f"incidents/{ann}/close", {"by": "eve", "classification": "benign"})

    def ids(*arguments: str) -> list[str]:
        return [
            line.split(",")[0] for line in run("list", "--format", "csv", *arguments).stdout.splitlines()[1:]
        ]

    assert ids() == [bob]
    assert ids("--status", "all") == [bob, ann]
    assert ids("--as", "benign") == [ann]
    assert ids("--status", "all", "--actor", "ANN") == [ann]
    assert ids("--search", "bob content") == [bob]
    assert ids("--since", "2026-03-03") == []
    assert ids("--rule", RULE.folder, "--severity", "High", "--until", "2026-03-02") == [bob]


def test_list_goes_on_beyond_a_page(world: PageWorld) -> None:
    for n in range(1_101):
        incident = Incident(f"in_{n}", 1, START, START, 1, 1, None, severity="High")
        world.table.write(RULE.folder, list(incident_operations((), incident, None)))
    assert len(run("list", "--format", "csv").stdout.splitlines()) == 1_102


@pytest.mark.parametrize("option", ["--status", "--severity", "--rule", "--as", "--since"])
def test_filter_that_is_not_valid_is_an_error_that_names_it(world: PageWorld, option: str) -> None:
    error = run("list", option, "wrong").exception
    assert isinstance(error, ConfigurationError)
    assert "must be" in str(error)


def test_incident_is_shown_by_the_beginning_of_its_id(world: PageWorld) -> None:
    name = world.incident()
    for prefix in (name, name[:6], name.removeprefix("in_")[:5]):
        assert name in run("show", prefix).stdout


@pytest.mark.parametrize("prefix", ["in_none", "none", "in_' or true", "in_/..", "x" * 99, ""])
def test_beginning_that_no_incident_has_is_named(world: PageWorld, prefix: str) -> None:
    error = run("show", "--", prefix).exception
    assert isinstance(error, ConfigurationError)
    assert f"there is no incident {prefix}" in str(error)


def test_beginning_that_several_incidents_have_names_them(world: PageWorld) -> None:
    names = sorted(world.incident(f"{n}@example.com", 1) for n in range(2))
    error = run("show", "in_").exception
    assert str(error) == f"several incidents begin with in_: {', '.join(names)}; type more of the id"


def test_beginning_that_many_incidents_have_names_a_few(world: PageWorld) -> None:
    names = sorted(world.incident(f"{n}@example.com", 1) for n in range(4))
    error = run("show", "in_").exception
    assert (
        str(error)
        == f"several incidents begin with in_: {', '.join(names[:3])}, and more; type more of the id"
    )


def test_large_incident_is_shown_on_a_screen_and_every_alert_on_demand(world: PageWorld) -> None:
    name = ""
    for hour in range(20):
        moment = START + hour * HOUR
        changes = [
            change(f"c{hour}-{n}", moment - 2 * HOUR, details=f'{{"id": "key_{n}"}}') for n in range(9)
        ]
        signals = [signal(f"s{hour}-{n}", moment - HOUR + n * timedelta(seconds=1)) for n in range(30)]
        name = world.commit_new(changes, signals, moment)
        world.post(f"incidents/{name}/comment", {"by": "eve", "note": "x" * 1_900})
    screen = run("show", name).stdout.splitlines()
    assert len(screen) <= 24
    assert max(map(len, screen)) < 700
    assert "600 signals" in "\n".join(screen)
    assert "and 15 more" in "\n".join(screen)
    assert run("show", name, "--alerts").stdout.count("run of 2026") == 20


def test_hostile_names_do_nothing_to_the_terminal(world: PageWorld) -> None:
    name = world.incident(HOSTILE)
    world.post(f"incidents/{name}/assign", {"by": HOSTILE, "assignee": "dan"})
    text = run("show", name).stdout + run("list").stdout
    assert "\\u001b[2J\\u202eeve@example.com" in text
    assert not {"\x1b", "\u202e"} & set(text)


@pytest.mark.parametrize("arguments", [("list",), ("list", "--format", "json"), ("stats",)])
def test_damaged_row_is_named_and_the_others_are_listed(world: PageWorld, arguments: tuple[str, ...]) -> None:
    name, damaged = world.incident(), world.incident("bob@example.com")
    rows = [row.row for row in world.table.scan(RULE.folder, "i|", "m") if damaged in row.row]
    world.table.write(RULE.folder, [Put(row, {}) for row in rows])
    result = run(*arguments)
    assert result.exit_code == 1
    assert (name if "list" in arguments else RULE.folder) in result.stdout
    assert f"not listed: row {rows[-1 if arguments == ('list',) else 0]} in the partition" in result.stderr


def test_incident_with_a_damaged_alert_is_shown_and_the_row_named(world: PageWorld) -> None:
    name = world.incident()
    row = next(iter(world.table.scan(RULE.folder, "a|", "a}"))).row
    world.table.write(RULE.folder, [Put(row, {})])
    result = run("show", name)
    assert (result.exit_code, name in result.stdout, f"row {row} in the" in result.stderr) == (1, True, True)
