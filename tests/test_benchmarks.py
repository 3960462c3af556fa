"""The benchmarks: every part runs, at toy size, and the pages show the figures of benchmarks/results.json."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from benchmarks import beyond, growth, scale
from benchmarks.__main__ import PARTS, Measure, main
from benchmarks.backtest import BEGIN
from benchmarks.cost import GB_SECOND, Prices
from benchmarks.figures import FigureTable
from benchmarks.pages import PAGES, PART_OF, tables
from benchmarks.processes import MeasurementFailed, measure
from benchmarks.results import RESULTS, Part, Results, Run, read, this_run, write
from benchmarks.size import FULL, TOY, Size
from benchmarks.tuning import KNOBS
from detection.backtest.backtest import make_plan
from detection.rules.loading import default_rule
from tests.chaos.page import TABLES
from tests.support.marked import tables_in

RUN = Run(
    datetime(2026, 6, 9, 12, tzinfo=UTC),
    FULL.max_rows,
    0.5,
    2,
    "a processor",
    24,
    "3.13.0",
    {"duckdb": "2.0.0"},
)
EARLIER = Run(
    datetime(2026, 6, 1, 12, tzinfo=UTC),
    FULL.max_rows,
    1.5,
    2,
    "a processor",
    24,
    "3.13.0",
    {"duckdb": "1.0.0"},
)
# `package` needs a Python 3.13 and half a minute: tests/infra/test_package.py runs it.
LOCAL_PARTS = [name for name in PARTS if name != "package"]
PRICES = Prices(GB_SECOND, None, None)


@cache
def toy(name: str) -> Mapping[str, FigureTable]:
    return PARTS[name](TOY, PRICES)


@pytest.mark.parametrize("name", LOCAL_PARTS)
def test_part_runs_and_fills_its_tables(name: str) -> None:
    for figures in toy(name).values():
        assert figures.rows
        assert {len(row) for row in figures.rows} == {len(figures.columns)}


def test_run_over_many_signals_finds_its_pairs_with_four_queries() -> None:
    rows = toy("large")["large"].dicts()
    assert [(row["actors"], row["requests"], int(row["pairs"]) > 0) for row in rows] == [
        ("1,000", "4", True),
        ("1", "4", True),
    ]


def test_runs_on_the_slow_table_alert_new_actors_and_no_known_actor_again() -> None:
    rows = [row for row in toy("scale")["scale"].dicts() if "actors" in row["case"]]
    assert {row["case"]: row["result"] for row in rows} == {
        "2 actors known, nothing new": "0 alerts",
        "2 actors new": "2 alerts",
        "2 actors known, 2 keys out of view, nothing new": "0 alerts",
    }


def test_goals_of_the_slow_table_are_compared_at_their_amount_only() -> None:
    rows = toy("scale")["scale"].dicts()
    assert {row["case"] for row in rows if row["goal of requests"]} == {"quiet hour"}


def test_single_cases_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert scale.main(["known:2", "messages:2"]) == 0
    assert "2 sent" in capsys.readouterr().out


def test_wrong_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        scale.main(["known:2", "unknown:2", "known"])
    assert "unknown, known: give a case and its amount, as in known:1000" in capsys.readouterr().err


def test_case_that_cannot_be_prepared_says_why() -> None:
    with pytest.raises(MeasurementFailed, match=r"nothing 1 was not prepared\n(.*\n)*KeyError"):
        scale.measure_case("nothing", 1)


@pytest.mark.parametrize("knob", KNOBS[1:])
def test_knob_is_a_setting_of_the_backtest(knob: str) -> None:
    make_plan(default_rule(), BEGIN, datetime(2026, 5, 2, tzinfo=UTC), [knob], {})


# ------------------------------------------------------------------------------------------------------- the command


def _good(size: Size, _: Prices) -> Mapping[str, FigureTable]:
    return {"good": FigureTable("a good part", ("most",), [[str(size.max_rows)]])}


def _bad(_size: Size, _prices: Prices) -> Mapping[str, FigureTable]:
    raise MeasurementFailed("it broke")


TWO_PARTS: Mapping[str, Measure] = {"bad": _bad, "good": _good}


def test_part_that_fails_ends_neither_the_run_nor_in_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], TWO_PARTS) == 1
    printed = capsys.readouterr()
    assert "a good part" in printed.out
    assert "it broke" in printed.err
    assert "1 of 2 parts measured" in printed.err
    assert "failed: bad" in printed.err


def test_size_is_handed_down(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["good", "--largest", "400000"], TWO_PARTS) == 0
    assert "400000" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["wire", "wires"], "unknown part: wires; the parts are wire,"),
        (["--largest", "0"], "--largest must be at least 1"),
        (["--toy", "--write"], "--toy has no meaningful figures to write; drop --toy or --write"),
    ],
)
def test_wrong_usage_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


def test_help_names_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert ", ".join(PARTS) in " ".join(capsys.readouterr().out.split())


# ----------------------------------------------------------------------------------------------------- the processes


def test_process_that_fails_says_why() -> None:
    with pytest.raises(MeasurementFailed, match=r"ended with 1\nwhy"):
        measure(["-c", "raise SystemExit('why')"])


def test_peak_memory_is_that_of_the_process_and_not_of_its_starter() -> None:
    memory = bytearray(b"x") * (200 << 20)
    assert measure(["-c", "pass"]).peak < 50
    del memory


# ---------------------------------------------------------------------------------------------------------- the pages


def _results(run: Run = RUN) -> Results:
    results = Results()
    for name in LOCAL_PARTS:
        results = results.with_part(name, Part(run.began, 1, toy(name)), run)
    return results


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_shows_the_figures_of_the_results(page: Path) -> None:
    shown, figures = tables_in(page.read_text(encoding="utf-8")), tables(read())
    names = shown.keys() - TABLES.keys()  # of the models in tests/chaos
    assert {name: shown[name] for name in names} == {name: figures[name]() for name in names}, (
        "run `make schemas`"
    )


def test_every_table_is_on_a_page() -> None:
    shown = {name for page in PAGES for name in tables_in(page.read_text(encoding="utf-8"))}
    assert tables(read()).keys() - shown == set()


def test_pages_can_show_what_the_parts_measure_now() -> None:
    assert set(PART_OF.values()) == PARTS.keys()
    blocks = tables(_results())
    toys = blocks.keys() - {"tuning-noisy", "package"}
    assert [name for name in toys if "Not measured yet" in blocks[name]()] == []


def test_results_come_back_as_they_were_kept(tmp_path: Path) -> None:
    write(_results(), tmp_path / "results.json")
    expected, read_tables = tables(_results()), tables(read(tmp_path / "results.json"))
    assert [name for name in toy("hours") if expected[name]() != read_tables[name]()] == []
    assert expected["speed"]() == read_tables["speed"]()


def test_simulation_makes_the_table_requests_that_were_counted() -> None:
    counted = {row[0]: row[4] for row in read(RESULTS).parts["scale"].tables["scale"].rows}
    requests = int(counted[f"{beyond.PEOPLE:,} actors new"].replace(",", ""))
    assert pytest.approx(requests, rel=0.1) == beyond.PEOPLE * beyond.REQUESTS_PER_PERSON


def test_results_name_no_folder_of_the_machine() -> None:
    assert not re.search(r"/(home|root|tmp|work|Users)/", RESULTS.read_text(encoding="utf-8"))


def test_table_of_another_run_says_so() -> None:
    results = _results().with_part("beyond", Part(EARLIER.began, 1, toy("beyond")), EARLIER)
    blocks = tables(results)
    assert "`beyond` was measured in another run: 1 June 2026, 12:00 UTC" in blocks["beyond"]()
    assert "another run" not in blocks["cold"]()
    assert blocks["run"]().startswith("Measured on 9 June 2026, 12:00 UTC, 2 cores")


def test_reduced_run_says_so() -> None:
    assert "reduced to 400,000 rows" in tables(_results(replace(RUN, largest=400_000)))["run"]()
    assert "reduced" not in tables(_results())["run"]()


def test_run_is_forgotten_with_the_last_of_its_figures() -> None:
    old = Results().with_part("beyond", Part(EARLIER.began, 1, {}), EARLIER)
    assert old.with_part("beyond", Part(RUN.began, 1, {}), RUN).runs == [RUN]


def test_facts_of_this_machine_are_known() -> None:
    run = this_run(FULL.max_rows)
    assert run.cores
    assert run.processor
    assert all(run.libraries.values())


def test_rows_of_the_incident_table_stay_flat(capsys: pytest.CaptureFixture[str]) -> None:
    assert growth.main(["--actors", "2", "--days", "13", "--retention", "4"]) == 0
    assert "rows are flat; retention is kept" in capsys.readouterr().out
