"""No request, of any method, path, header or body, is an error of the page."""

import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detection.web.actor import actor_id
from detection.web.exchange import AccessMode, make_request
from detection.web.listing import FIELDS
from detection.web.respond import ACT_FIELDS, ACTS, SILENCE_FIELDS, respond
from tests.support.builders import ALICE, RULE
from tests.support.examples import examples, many
from tests.support.page_world import API, FORM, HTML, JSON, SIGNED_IN, PageWorld

WORLD = PageWorld()
NAME = WORLD.incident()
LINK = (WORLD.job.link_signer().link_to(NAME, WORLD.now) or "").partition("/api/")[2]
ACTOR = actor_id(ALICE)
TOKENS = [
    WORLD.job.link_signer().form_token(subject, "", WORLD.now) for subject in (NAME, "silences", "selected")
]
NUMBERS = [
    "0",
    "-1",
    "1e999",
    "nan",
    "9" * 12,
    "9" * 5_000,
    "253402300800",
    "٣",
    "1",
    "P1D",
    "P9999999Y",
    "PT1E9S",
]

anything = st.one_of(
    st.text(max_size=20), st.sampled_from(NUMBERS), st.sampled_from(["\0", "\ud800", "[", "//", "%"])
)
word = st.one_of(
    st.sampled_from(
        [
            NAME,
            "incidents",
            "look",
            "silences",
            "selected",
            "actors",
            ACTOR,
            "lift",
            "add",
            "retry",
            "in_1",
            "",
            *ACTS,
            *TOKENS,
        ]
    ),
    anything,
)
field_name = st.one_of(
    st.sampled_from(["status", "severity", "after", "code", "until", "signature", "done", "lifted", *FIELDS]),
    st.sampled_from([*ACT_FIELDS, *SILENCE_FIELDS, "incidents"]),
    anything,
)
field_value = st.one_of(
    word,
    st.sampled_from(
        [
            "benign",
            "open",
            "High",
            "csv",
            "Europe",
            "now-1d",
            f"{NAME}:1:0",
            f"{RULE.folder}/nightly",
            "0|0|0000000000000000|in_1|new",
        ]
    ),
)
fields = st.dictionaries(field_name, field_value, max_size=9)
json_value = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), field_value),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(field_name, inner, max_size=3),
    max_leaves=9,
)
body = st.one_of(
    st.binary(max_size=40),
    fields.map(lambda values: urlencode(values, errors="replace").encode()),
    json_value.map(lambda value: json.dumps(value).encode(errors="replace")),
    fields.map(lambda values: json.dumps(values).encode(errors="replace")),
    st.just(b"x" * 20_000),
    st.just(b"[" * 9_000),
)
header_name = st.one_of(
    st.sampled_from(["accept", "content-type", "origin", "sec-fetch-site", "host", "Content-Length"]),
    anything,
)
header_value = st.one_of(
    st.sampled_from(
        [*JSON.values(), *HTML.values(), *FORM.values(), "same-origin", "http://[", "a/b;q=1e999"]
    ),
    anything,
)
headers = st.builds(
    lambda basis, extra: {**basis, **extra},
    st.sampled_from(
        [{}, JSON, HTML, FORM, SIGNED_IN, {**JSON, "content-type": "application/json"}, {**HTML, **FORM}]
    ),
    st.dictionaries(header_name, header_value, max_size=4),
)
path = st.one_of(
    st.lists(word, max_size=5).map("/".join),
    st.sampled_from(ACTS).map(lambda verb: f"incidents/{NAME}/{verb}"),
    st.sampled_from([f"incidents/{NAME}", "incidents", LINK, f"look/{NAME}"]),
    st.sampled_from(["incidents/silences/lift", "incidents/silences/add", "incidents/messages/retry"]),
)
url = st.one_of(
    st.builds(
        lambda names, query: (
            f"{API}/{names}{'&' if '?' in names else '?'}{urlencode(query, errors='replace')}"
        ),
        path,
        fields,
    ),
    st.builds(lambda names, query: f"{API}/{names}/?{query}", path, anything),
    path.map(lambda names: f"{API}/{quote(names, errors='replace')}"),
    path,
    anything,
    st.sampled_from(
        ["http://[", "https://[/incidents", "//", "http://a:b/incidents", "http://\ud800/look/x"]
    ),
)
access_mode: st.SearchStrategy[AccessMode] = st.sampled_from(["entra", "key", "link"])


@many
@pytest.mark.parametrize("sign_in_offered", [False, True])
@settings(max_examples=examples(400, 10_000))
@given(
    method=st.one_of(st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS"]), anything),
    url=url,
    headers=headers,
    body=body,
    mode=access_mode,
)
@example(method="GET", url=f"{API}/incidents/?x=\ud800", headers={}, body=b"", mode="key")
@example(method="GET", url=f"{API}/look/{NAME}?until=999999999999", headers={}, body=b"", mode="link")
def test_any_request_gets_an_answer_that_is_not_our_error(
    sign_in_offered: bool, method: str, url: str, headers: dict[str, str], body: bytes, mode: AccessMode
) -> None:
    request = make_request(method, url, headers, body, mode, sign_in_offered=sign_in_offered)
    answer = respond(request, WORLD.job, WORLD.now)
    assert 200 <= answer.status < 500
    if answer.headers.get("content-type") == "application/json" and answer.body:
        json.loads(answer.body)


@many
@settings(max_examples=examples(300, 10_000))
@given(path=path, query=fields, method=st.sampled_from(["GET", "HEAD", "POST", "BREW"]))
def test_without_a_valid_signature_every_address_of_links_is_not_found(
    path: str, query: dict[str, str], method: str
) -> None:
    url = f"{API}/{path.partition('?')[0]}?{urlencode(query, errors='replace')}"
    answer = respond(make_request(method, url, HTML, b"", "link"), WORLD.job, WORLD.now)
    assert answer.status == 404
