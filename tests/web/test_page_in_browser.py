"""The incident page in a real browser: on a phone and a desktop, light and dark, with the keyboard alone, without scripts."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from detection.cli.serve import Server
from detection.rules.patterns import literal_pattern
from detection.rules.silences import parse_silence
from detection.store.incident_store import IncidentStore
from detection.store.table import Put
from detection.web.actor import actor_id
from detection.web.listing import PER_PAGE
from tests.incidents.test_grouping import HOSTILE
from tests.support.browser import browser as browser_module
from tests.support.browser.browser import DESKTOP, PHONE, Browser, Size
from tests.support.builders import ALICE, DAY, HOUR, RULE, START, act, change, signal
from tests.support.page_world import PageWorld
from tests.support.pages import serving
from tests.web.test_page import add_to_list

ELSEWHERE = "https://elsewhere.example/x.png"
HOSTILE_MARKUP = {
    "script": "<script>alert(document.domain)</script>",
    "image": f"<img src={ELSEWHERE} onerror=alert(1)>",
    "attribute": '" onmouseover=alert(1) autofocus onfocus=alert(2) x="',
    "style": f"</title></style><style>*{{background:url({ELSEWHERE})}}</style>",
    "svg": "<svg onload=alert(1)><title></title>",
    "link": "javascript:alert(1)",
    "template": "{{ 7 * 7 }}{% for x in () %}",
    "refresh": f"<meta http-equiv=refresh content='0;url={ELSEWHERE}'>",
    "form": f"</form><form action={ELSEWHERE}><button>Close</button>",
}

EVERYWHERE = pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
# Every size and every colour in `make test`, all their combinations in `make test-slow`.
LOOKS = pytest.mark.parametrize(
    "size, dark",
    [
        pytest.param(DESKTOP, False, id="light-desktop"),
        pytest.param(PHONE, True, id="dark-phone"),
        pytest.param(PHONE, False, id="light-phone", marks=pytest.mark.slow),
        pytest.param(DESKTOP, True, id="dark-desktop", marks=pytest.mark.slow),
    ],
)
LIGHT_AND_DARK = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if reason := browser_module.missing_reason():
        pytest.skip(reason)
    with browser_module.running() as running_browser:
        yield running_browser


@pytest.fixture(scope="module")
def world() -> PageWorld:
    """Incidents of all kinds: small and large, open, acknowledged and closed, of one who writes the worst there is."""
    webhooks = (
        '[{"name": "pager", "url": "https://p.example/"}, {"name": "chat", "url": "https://c.example/"}]'
    )
    page_world = PageWorld({"WEBHOOKS": webhooks}, now=START + DAY)
    page_world.incident("bob@example.com")
    closed_id = page_world.incident("carol@example.com", now=START + HOUR)
    page_world.post(
        f"incidents/{closed_id}/close", {"by": "eve", "classification": "false-positive", "note": "a test"}
    )
    page_world.commit_new(
        [change(f"c{n}", START - 40 * HOUR + n * 9 * HOUR, kind=kind) for n, kind in enumerate(KINDS)],
        [
            signal(
                f"s{n}",
                START - 39 * HOUR + n * timedelta(minutes=1),
                kind=("content_filter", "length")[n % 2],
            )
            for n in range(2_000)
        ],
    )
    IncidentStore(page_world.table, RULE.folder, "x").update(
        page_world.incident(), lambda incident: act(incident, "acknowledged", "eve", START, "mine")
    )
    for name, actor in (("nightly", "ann*"), ("attack", literal_pattern(HOSTILE_MARKUP["form"]))):
        fields = {"name": name, "owner": "eve", "reason": HOSTILE_MARKUP["script"], "actor": actor}
        page_world.job.desk.silence(RULE, parse_silence({**fields, "expires": START + 2 * DAY}))
    damaged = [f"l|1|{n}|{'0' * 16}|in_{'damaged' * 6}|closed" for n in range(7)]
    page_world.table.write(RULE.folder, [Put(row, {}) for row in damaged])
    return page_world


KINDS = ("api_key.created", "role.updated", "invite.sent")


@pytest.fixture(scope="module")
def server(world: PageWorld) -> Iterator[Server]:
    with serving(world.job) as running:
        yield running


def address(server: Server, world: PageWorld, page: str) -> str:
    names = {summary.incident.status: summary.incident.id for summary in world.job.desk.incidents()}
    link = world.job.link_signer().link_to(names["acknowledged"], world.now) or ""
    path = {
        "list": "incidents?status=all&",
        "filtered list": "incidents?status=all&actor=a&tz=Asia/Kolkata&refresh=600&",
        "empty list": "incidents?severity=Low&",
        "large": f"incidents/{names['acknowledged']}?",
        "actor": f"incidents/actors/{actor_id(ALICE)}?",
        "evidence": f"incidents/{names['acknowledged']}?evidence=2&",
        "new": f"incidents/{names['new']}?",
        "closed": f"incidents/{names['closed']}?",
        "link": link.partition("/api/")[2] + "&",
        "failure": "incidents/in_none?",
    }[page]
    return f"{server.origin}/api/{path}code={server.key}"


PAGES = {
    "actor": 200,
    "evidence": 200,
    "list": 200,
    "filtered list": 200,
    "empty list": 200,
    "large": 200,
    "new": 200,
    "closed": 200,
    "link": 200,
    "failure": 404,
}


@LOOKS
@pytest.mark.parametrize("page", PAGES)
def test_page_is_accessible_fits_and_complains_of_nothing(
    browser: Browser, server: Server, world: PageWorld, page: str, size: Size, dark: bool
) -> None:
    assert browser.open(address(server, world, page), size, dark=dark) == PAGES[page]
    browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.ask("axe") == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= size.width
    problems = [problem for problem in browser.problems if "404 (Not Found)" not in problem]
    assert problems == []
    assert [request for request in browser.requests if not request.startswith(f"GET {server.origin}/")] == []


@LIGHT_AND_DARK
def test_page_is_light_or_dark_as_the_reader_wants_it(
    browser: Browser, server: Server, world: PageWorld, dark: bool
) -> None:
    browser.open(address(server, world, "new"), DESKTOP, dark=dark)
    colour = browser.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(colour) < 80) is dark


@EVERYWHERE
def test_timeline_that_fits_the_window_is_shown(
    browser: Browser, server: Server, world: PageWorld, size: Size
) -> None:
    browser.open(address(server, world, "large"), size)
    shown = browser.evaluate(
        "[...document.querySelectorAll('.timeline')].filter(one => one.checkVisibility()).map(one => one.classList[1])"
    )
    assert shown == ["narrow" if size is PHONE else "wide"]
    assert browser.evaluate(
        "[...document.querySelectorAll('.tick')].every(one => !one.checkVisibility() || one.getBoundingClientRect().height > 8)"
    )


@EVERYWHERE
def test_incident_is_acknowledged_and_closed_with_the_keyboard_and_without_scripts(
    browser: Browser, size: Size
) -> None:
    world = PageWorld()
    name = world.incident()
    with serving(world.job) as server:
        browser.open(f"{server.origin}/api/incidents?code={server.key}", size, scripts=False)
        browser.tab_to(".incidents a")
        assert browser.ask("follow", key="Enter") == 200

        browser.tab_to("#by")
        browser.ask("type", text="Eve Ops")
        browser.tab_to("#note")
        browser.ask("type", text="on it")
        browser.tab_to("button.primary")
        assert browser.ask("follow", key="Enter") == 200
        assert "acknowledged by Eve Ops self-declared" in " ".join(browser.text(".history").split())

        browser.tab_to("#by")
        browser.ask("type", text="Eve Ops")
        browser.tab_to("[value=true-positive]")
        browser.ask("press", keys=["ArrowDown", "ArrowDown"])
        browser.tab_to("button[formaction*=close]")
        assert browser.ask("follow", key="Enter") == 200
        assert "closed as false-positive" in browser.text(".lead")
        assert browser.problems == []
    assert world.json(f"incidents/{name}")["incident"]["classification"] == "false-positive"


@EVERYWHERE
def test_incidents_are_selected_and_closed_with_the_keyboard_and_without_scripts(
    browser: Browser, size: Size
) -> None:
    world = PageWorld()
    names = [world.incident(f"{n}@example.com") for n in range(3)]
    with serving(world.job) as server:
        browser.open(f"{server.origin}/api/incidents?code={server.key}", size, scripts=False)
        for name in names[:2]:
            browser.tab_to(f"input[value^='{name}']")
            browser.ask("press", keys=["Space"])
        browser.tab_to("details.silences summary")
        browser.ask("press", keys=["Enter"])
        browser.tab_to("#close-by")
        browser.ask("type", text="Eve Ops")
        browser.tab_to("#close-as")
        browser.ask("type", text="benign")
        browser.tab_to("#close-selected button")
        assert browser.ask("follow", key="Enter") == 200
        assert browser.text(".notice").startswith("Closed: in_")
        assert browser.problems == []
    assert sorted(detail.incident.status for detail in world.job.desk.incidents()) == [
        "closed",
        "closed",
        "new",
    ]


@LOOKS
def test_list_of_500_incidents_is_accessible_fits_and_leads_to_its_next_page(
    browser: Browser, size: Size, dark: bool
) -> None:
    world = PageWorld(now=START + DAY)
    add_to_list(world, 500)
    with serving(world.job) as server:
        url = f"{server.origin}/api/incidents?status=all&code={server.key}"
        assert browser.open(url, size, dark=dark) == 200
        browser.tab_to("a[rel=next]", presses=4 * PER_PAGE)
        assert browser.ask("follow", key="Enter") == 200
        assert f"in_{499 - PER_PAGE}" in browser.text("main")
        assert browser.ask("axe") == []
        assert browser.evaluate("document.documentElement.scrollWidth") <= size.width
        assert browser.problems == []


def test_silence_is_lifted_by_its_button_and_not_by_enter_in_the_name(browser: Browser) -> None:
    world = PageWorld()
    fields = {"owner": "eve", "reason": "a move", "actor": "ann*", "expires": START + DAY}
    for name in ("first", "second"):
        world.job.desk.silence(RULE, parse_silence({"name": name, **fields}))
    with serving(world.job) as server:
        browser.open(f"{server.origin}/api/incidents?code={server.key}", DESKTOP, scripts=False)
        browser.tab_to("#by")
        browser.ask("type", text="Eve Ops")
        browser.ask("press", keys=["Enter"])
        browser.tab_to("button[value$=second]")
        assert browser.ask("follow", key="Enter") == 200
        assert browser.problems == []
    lifted = {entry.silence.name: entry.silence.lifted_by for entry in world.job.desk.silences()}
    assert lifted == {"first": "", "second": "Eve Ops"}


def test_focus_is_to_be_seen_wherever_the_keyboard_leads(
    browser: Browser, server: Server, world: PageWorld
) -> None:
    browser.open(address(server, world, "new"), DESKTOP)
    for _ in range(15):
        browser.ask("press", keys=["Tab"])
        width = browser.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert width == "3px", browser.evaluate("document.activeElement.outerHTML")


@pytest.mark.parametrize(
    "value", [*HOSTILE_MARKUP.values(), *HOSTILE.values()], ids=[*HOSTILE_MARKUP, *HOSTILE]
)
def test_what_an_attacker_writes_into_the_logs_does_nothing(browser: Browser, value: str) -> None:
    world = PageWorld()
    name = world.commit_new(
        [change("c", START - HOUR, f"eve{value}", ip=value)],
        [signal(f"s{value}", START - HOUR / 2, f"eve{value}", model=value)._replace(kind=value)],
    )
    world.post(f"incidents/{name}/acknowledge", {"by": f"eve{value}"[:200], "note": value[:2_000]})
    with serving(world.job) as server:
        for path in ("incidents?", f"incidents/{name}?"):
            assert browser.open(f"{server.origin}/api/{path}code={server.key}", PHONE) == 200
            assert browser.problems == []
            assert [
                request for request in browser.requests if not request.startswith(f"GET {server.origin}/")
            ] == []
            assert browser.evaluate("document.documentElement.scrollWidth") <= PHONE.width
            assert browser.evaluate("document.querySelectorAll('script, img, meta[http-equiv]').length") == 0
        assert browser.evaluate("document.forms.length") == 1


def test_browser_would_notice_what_the_policy_forbids(
    browser: Browser, server: Server, world: PageWorld
) -> None:
    browser.open(address(server, world, "new"), DESKTOP)
    browser.evaluate(f"void document.body.append(Object.assign(new Image(), {{src: '{ELSEWHERE}'}}))")
    browser.evaluate(
        "void document.body.insertAdjacentHTML('beforeend', '<p style=\"color:red\" onclick=\"alert(1)\">x</p>')"
    )
    browser.evaluate("document.body.lastChild.click()")
    assert [
        word for word in ("image", "style", "event handler") if word not in " ".join(browser.problems)
    ] == []
    assert [request for request in browser.requests if ELSEWHERE in request] == []


def test_actor_of_the_large_incident_is_who_it_says(
    browser: Browser, server: Server, world: PageWorld
) -> None:
    browser.open(address(server, world, "large"), DESKTOP)
    assert browser.text("h1").startswith(f"{ALICE} created an API key")
