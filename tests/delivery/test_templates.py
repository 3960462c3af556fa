"""Templates of messages: escaped, bounded, checked at start; a failure is a dead letter and stops no run."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from detection.app import Job, open_job
from detection.base.errors import ConfigurationError
from detection.delivery import templates
from detection.delivery.templates import MESSAGE_BYTES, SAMPLES, TEXT, WORK, TemplateFailure, render
from detection.messages.digest import as_native, make_digest
from detection.messages.links import MessageLinks
from detection.messages.native import native
from detection.settings import settings_from
from detection.store.outbox import table_outbox
from detection.store.table import MemoryTable
from tests.messages.test_formats import HOSTILE
from tests.regenerate import sample_messages
from tests.support.builders import HOUR, RULE, START
from tests.support.contexts import (
    LINKS,
    digest_entry,
    golden_context,
    golden_digest,
    incident_opened_at,
    link_to,
    made_up_context,
)
from tests.support.raw_logs import audit, completion, write
from tests.support.receiver import Receiver, receiving

Json = dict[str, Any]

NOW = datetime(2026, 6, 9, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SHIPPED = sorted(path.name for path in templates.TEMPLATES.glob("*.json.j2"))
MESSAGES = {
    "golden": native(golden_context()),
    "without links": native(made_up_context(links=MessageLinks())),
    "updated": native(made_up_context(30, incident=incident_opened_at(START - HOUR))),
    "digest": as_native(golden_digest()),
    "large digest": as_native(golden_digest(500)),
    **{
        f"hostile: {name}": native(made_up_context(30, value, ip=value, model=value, details=value))
        for name, value in HOSTILE.items()
    },
    **{
        f"hostile digest: {name}": as_native(
            make_digest("dg_1", START, [digest_entry(1, title=value[:500])], RULE)
        )
        for name, value in HOSTILE.items()
    },
}
shipped = pytest.mark.parametrize("name", SHIPPED)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of templates."""
    path = tmp_path / "templates"
    path.mkdir()
    monkeypatch.setattr(templates, "TEMPLATES", path)
    return path


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def rendered(folder: Path, source: str, **message: object) -> Any:  # noqa: ANN401  # any JSON
    (folder / "t.j2").write_text(source, encoding="utf-8")
    return json.loads(render("t.j2", json.dumps(message).encode()))


# ---------------------------------------------------------------------------------------------------- shipped


def test_three_templates_are_shipped() -> None:
    assert SHIPPED == ["google-chat.json.j2", "jira.json.j2", "mattermost.json.j2"]


def test_samples_are_what_the_code_writes() -> None:
    assert SAMPLES.read_bytes() == sample_messages(), "run `make schemas`"


@shipped
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_shipped_template_renders_every_message(name: str, message: bytes) -> None:
    assert isinstance(json.loads(render(name, message)), dict)


@shipped
def test_shipped_template_names_the_incident_its_severity_and_its_page(name: str) -> None:
    text = render(name, MESSAGES["golden"]).decode()
    incident = json.loads(MESSAGES["golden"])["data"]["incident"]["id"]
    assert incident in text
    assert "created API key key_Vn3Qy8LsTz0KdWc5" in text
    assert "High" in text
    assert str(LINKS.page) in text


@shipped
def test_shipped_template_links_every_incident_of_a_digest_that_it_names_and_the_list(name: str) -> None:
    text = render(name, MESSAGES["digest"]).decode()
    assert all(link_to(f"in_{number:04}") in text for number in (5, 3, 17, 10))
    assert "https://func.example/api/incidents" in text


def test_google_chat_gets_the_updates_of_an_incident_in_one_thread_and_no_markup_from_the_logs() -> None:
    message = json.loads(render("google-chat.json.j2", MESSAGES["updated"]))
    assert message["thread"] == {"threadKey": "in_1"}
    hostile = render("google-chat.json.j2", MESSAGES["hostile: link"]).decode()
    assert "&lt;http://evil.example|click&gt;" in hostile
    assert "<http://evil.example" not in hostile


def test_mattermost_gets_values_from_the_logs_in_code_only() -> None:
    value = "`@channel` [x](http://evil.example)"
    message = json.loads(render("mattermost.json.j2", native(made_up_context(3, value))))
    (attachment,) = message["attachments"]
    assert attachment["text"].count("`") == 6
    assert attachment["text"].startswith("```\n'@channel'")
    assert attachment["fields"][1]["value"] == "`'@channel' [x](http://evil.example)`"


@shipped
def test_shipped_template_separates_thousands(name: str) -> None:
    alert, digest = json.loads(MESSAGES["golden"]), json.loads(MESSAGES["digest"])
    alert["data"]["incident"] |= {"alerts": 1_200, "pairs": 12_345}
    digest["data"]["incidents"] = 1_234
    texts = [render(name, json.dumps(message).encode()).decode() for message in (alert, digest)]
    assert not re.search(r"\b(1200|12345|1234)\b", " ".join(texts))
    assert "All 1,234 incidents" in texts[1]
    assert name == "jira.json.j2" or "alerts 1,200, pairs 12,345" in texts[0]


def test_jira_reads_no_markup_in_values_from_the_logs() -> None:
    message = json.loads(render("jira.json.j2", native(made_up_context(3, "{noformat} h1. x"))))
    assert message["description"].count("{noformat}") == 2
    assert message["priority"] == "Highest"


# --------------------------------------------------------------------------------------------------- escaping


@pytest.mark.parametrize(
    "value", ['"', "\\", '", "x": "', "\n", "\u2028", "😀", "</script>", *HOSTILE.values()]
)
def test_value_cannot_leave_its_text(folder: Path, value: str) -> None:
    short = value[:1_000]
    assert rendered(folder, '{"a": "<{{ v }}>", "b": "{{ v|upper }}"}', v=short) == {
        "a": f"<{short}>",
        "b": short.upper(),
    }


def test_null_is_empty_and_numbers_and_objects_are_json(folder: Path) -> None:
    source = '{"a": "{{ n }}", "b": {{ i }}, "c": {{ t }}, "d": {{ o|tojson }}, "e": {{ n|tojson }}}'
    assert rendered(folder, source, n=None, i=7, t=True, o={"x": ['"']}) == {
        "a": "", "b": 7, "c": True, "d": {"x": ['"']}, "e": None,
    }  # fmt: skip


def test_member_has_precedence_over_a_method_of_the_same_name(folder: Path) -> None:
    assert rendered(folder, '"{{ o.values.items }}"', o={"values": {"items": "x"}}) == "x"


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "source, reason",
    [
        ("{{ missing }}", "'missing' is undefined"),
        ("{{ data.missing }}", "no attribute 'missing'"),
        ("{{ data['missing'] }}", "the message has no such member"),
        ("{{ data }}", "write it with the filter tojson"),
        ("{{ v.__class__ }}", "__class__"),
        ("{{ v.upper() }}", "line 1: Call is not available"),
        ("{{ v.upper }}", "upper"),
        ("{{ v * 9 }}", "line 1: Mul is not available"),
        ("{{ v ~ v }}", "line 1: Concat is not available"),
        ("{{ [v, v] }}", "line 1: List is not available"),
        ("\n{% macro m() %}{% endmacro %}", "line 2: Macro is not available"),
        ("{% set x %}{{ v }}{% endset %}", "AssignBlock is not available"),
        ("{% include 'settings.py' %}", "Include is not available"),
        ("{% for a in v recursive %}{% endfor %}", "For is not available"),
        ("{% for a in range(9) %}{% endfor %}", "Call is not available"),
        ("{{ v|pprint }}", "line 1: No filter named 'pprint'"),
        ("{% if %}", "line 1: "),
        ('{"a": {{ v }}}', "the message is not JSON"),
        ("", "the message is not JSON"),
        ("{{ v|round }}", "a filter does not fit its value"),
    ],
)  # fmt: skip
def test_template_that_cannot_be_rendered_says_why(folder: Path, source: str, reason: str) -> None:
    with pytest.raises(TemplateFailure) as failure:
        rendered(folder, source, v="secret value", data={"a": "secret value"})
    assert reason in str(failure.value)
    assert "secret value" not in str(failure.value)


def test_reason_does_not_contain_a_value_that_is_looked_up(folder: Path) -> None:
    with pytest.raises(TemplateFailure) as failure:
        rendered(folder, '{{ {"High": 1}[v] }}', v="secret value")
    assert "secret value" not in str(failure.value)


@pytest.mark.parametrize("name", ["missing.j2", "..", "rules"])
def test_file_that_is_not_there_is_named_a_failure(folder: Path, name: str) -> None:
    with pytest.raises(TemplateFailure, match="put it into detection/content/templates"):
        render(name, b"{}")


@pytest.mark.parametrize(
    "name", ["template:../x.j2", "template:/etc/passwd", "template:", "template:a/b", "html"]
)
def test_format_names_a_file_of_the_folder_only(name: str) -> None:
    webhooks = [{"url": "https://a.example/x", "format": name}]
    with pytest.raises(
        ConfigurationError, match="must be native, slack, teams, pagerduty, ocsf or template:FILE"
    ):
        settings_from({"WEBHOOKS": json.dumps(webhooks)})


# ------------------------------------------------------------------------------------------------------ bounds


def nested(loops: int, body: str = "") -> str:
    return "{% for a in v %}" * loops + body + "{% endfor %}" * loops + "1"


@pytest.mark.parametrize(
    "source",
    [
        nested(4),
        nested(2, "{{ '' if w }}" * 500),
        nested(1, "{% set x = data.queries.signals|list|sort|join %}"),
        nested(1, "{% set x = data.queries.signals|replace('a', 'b')|upper|truncate(9)|e %}"),
        nested(1, "{% set x = data|tojson %}"),
        nested(1, "{% set x = v|map('replace', '1', w)|list %}"),
        nested(1, "{% set x = v|map(attribute='x', default=w)|join %}"),
        nested(1, "{% set x = v|map(attribute='" + "x." * 9_000 + "', default='')|list %}"),
        nested(1, "{% set x = objects|sort(attribute='" + "w," * 9_000 + "w')|list %}"),
        nested(1, "{% if w in w or w == w %}{% endif %}" * 9),
        nested(1, "{% if w is in w %}{% endif %}" * 9),
        nested(1, "{% set x = v|select('in', w)|list %}"),
        nested(1, "{% set x = w[1:] %}" * 9),
    ],
)
def test_rendering_processes_no_more_than_a_number_of_characters_and_elements(
    folder: Path, source: str
) -> None:
    data, texts = {"queries": {"signals": "let x = 1;\n" * 1_000}}, list(map(str, range(1_000)))
    with pytest.raises(TemplateFailure, match=f"more than {WORK:,} characters and elements"):
        rendered(folder, source, v=texts, w="x" * 9_000, data=data, objects=[{"w": "x" * 9_000}] * 2)


@pytest.mark.parametrize("method", ["common", "ceil", "floor"])
@pytest.mark.parametrize("digits", [999_999_999, -999_999_999])
def test_number_is_not_rounded_to_more_digits_than_it_has(folder: Path, method: str, digits: int) -> None:
    with pytest.raises(TemplateFailure, match="round has more than 15 digits"):
        rendered(folder, "{{ n|round(digits, method) }}", n=1, digits=digits, method=method)


@pytest.mark.parametrize(
    "source",
    [
        "{% set x = v|replace('a', v) %}" + "{% set x = x|replace('a', x) %}" * 30 + '"{{ x }}"',
        "{% set x = v|list|join(v) %}" + "{% set x = x|list|join(x) %}" * 30 + '"{{ x }}"',
    ],
)
def test_texts_do_not_grow_without_bounds(folder: Path, source: str) -> None:
    with pytest.raises(TemplateFailure, match="a text has more than"):
        rendered(folder, source, v="a" * 1_000)


def test_text_may_have_as_many_characters_as_a_text_has(folder: Path) -> None:
    source = "{{ v|upper|length }}"
    assert rendered(folder, source, v="a" * TEXT) == TEXT
    with pytest.raises(TemplateFailure, match="a text has more than"):
        rendered(folder, source, v="a" * (TEXT + 1))


def test_message_may_have_as_many_bytes_as_a_message_has(folder: Path) -> None:
    content = MESSAGE_BYTES - len('""')
    assert rendered(folder, '"{{ v }}"', v="a" * content) == "a" * content
    with pytest.raises(TemplateFailure, match="the message has more than"):
        rendered(folder, '"{{ v }}"', v="a" * (content + 1))


def test_join_puts_nothing_between_values_unless_a_template_names_a_separator(folder: Path) -> None:
    assert rendered(folder, '["{{ v|join }}", "{{ v|join(", ") }}"]', v=["a", 1]) == ["a1", "a, 1"]


def test_message_has_a_size(folder: Path) -> None:
    with pytest.raises(TemplateFailure, match="the message has more than 65,536 bytes"):
        rendered(folder, '["{% for a in v %}{{ w }}{% endfor %}"]', v=list(range(1_000)), w="x" * 1_000)


def test_file_has_a_size(folder: Path) -> None:
    with pytest.raises(TemplateFailure, match="the file has more than 32,768 bytes"):
        rendered(folder, " " * 40_000 + "1")


# ------------------------------------------------------------------------------------------------- in the line


def make_job(folder: Path, receiver: Receiver, *formats: str) -> Job:
    """A job with one new alert, for a destination of each format, which is also its name."""
    time = NOW - 30 * MINUTE
    write(
        folder,
        [audit("audit_1", "alice@example.com", time, arrived=time)],
        [completion("chatcmpl-1", "alice@example.com", time + MINUTE, arrived=time)],
    )
    hooks = [
        {"name": name.partition(":")[2].partition(".")[0] or name, "url": receiver.url, "format": name}
        for name in formats
    ]
    settings = settings_from({"LOGS_DIR": str(folder), "WEBHOOKS": json.dumps(hooks)})
    return open_job(settings, lambda: NOW, MemoryTable())


def test_alert_is_sent_by_its_template(tmp_path: Path, receiver: Receiver) -> None:
    make_job(tmp_path, receiver, "template:google-chat.json.j2").detect()
    (message,) = receiver.messages
    assert message["cardsV2"][0]["card"]["header"]["title"] == "High"


def test_template_that_no_sample_satisfies_stops_the_start(
    tmp_path: Path, receiver: Receiver, folder: Path
) -> None:
    (folder / "broken.j2").write_text("{{ data.titel }}", encoding="utf-8")
    with pytest.raises(
        ConfigurationError, match=r"destination broken, template:broken\.j2: .* no attribute 'titel'"
    ):
        make_job(tmp_path, receiver, "template:broken.j2")


def test_template_that_fails_on_real_data_leaves_a_dead_letter_and_every_other_message(
    tmp_path: Path, receiver: Receiver, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The alerts of the samples have three pairs.
    source = '{"a": "{% if type == "detection.alert.opened" and data.counts.pairs == 1 %}{{ data.no }}{% endif %}"}'
    (folder / "picky.j2").write_text(source, encoding="utf-8")
    job = make_job(tmp_path, receiver, "template:picky.j2", "native")

    (record,) = job.detect()

    assert (record.outcome, record.alerts) == ("complete", 1)
    assert [message["type"] for message in receiver.messages] == ["detection.alert.opened"]
    outbox = table_outbox(job.table, [job.rules[0].folder])
    (dead_letter,) = outbox.dead_letters()
    assert dead_letter.reason == "template:picky.j2: 'dict object' has no attribute 'no'"
    lines = [
        json.loads(line.getMessage()) for line in caplog.records if "detection.delivery" in line.getMessage()
    ]
    assert [(line["destination"], line["outcome"], line["reason"]) for line in lines] == [
        ("picky", "dead", dead_letter.reason)
    ]

    (folder / "picky.j2").write_text('{"a": "{{ data.actor }}"}', encoding="utf-8")
    job.requeue()
    job.deliver()
    assert receiver.messages[-1] == {"a": "alice@example.com"}
