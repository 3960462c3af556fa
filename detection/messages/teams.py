"""An alert as an Adaptive Card in the envelope that a Teams workflow takes. Pure.

Whatever comes from the logs stands in text runs, where Teams reads neither Markdown nor links nor mentions (Adaptive
Cards: "RichTextBlock", which knows no Markdown). A workflow refuses more than about 28 KB and was seen to
fail from 21 KB on: the message is kept below 20,000 bytes, by leaving out the oldest pairs first.
"""

from collections.abc import Mapping, Sequence

from pydantic_core import to_json

from detection.messages.facts import cut, evidence, facts, headline, origin, pair_lines, runbook, sequence
from detection.messages.fitting import fewer, fitting
from detection.messages.telling import Telling

MESSAGE_BYTES = 20_000
TITLE = 500
NARROWER = (100, 50)  # characters of a value, where every one of them takes twelve bytes
FALLBACK = "An alert of this detection. This client is too old to show it."  # may be read as Markdown: nothing of the logs
COLORS = {"High": "attention", "Medium": "warning", "Low": "accent", "Informational": "default"}

NOTHING: Mapping[str, str] = {}

Element = dict[str, object]


def teams(told: Telling) -> bytes:
    """The message as JSON bytes."""
    pairs = pair_lines(told)

    def render(way: tuple[int, int]) -> bytes:
        width, shown = way
        return to_json(_card(told, evidence(told, pairs[:shown]), width), ensure_ascii=True)

    ways = [(TITLE, shown) for shown in fewer(len(pairs))]
    return fitting([*ways, *((width, 0) for width in NARROWER)], render, MESSAGE_BYTES)


def card(
    first: str, severity: str, blocks: Sequence[Element], source: str, links: Mapping[str, str] = NOTHING
) -> Element:
    """A card between its first line and where it comes from, with buttons that lead on, in its envelope."""
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": FALLBACK,
        "msteams": {"width": "Full"},
        "body": [
            runs(cut(first, TITLE), weight="bolder", size="medium", color=COLORS[severity]),
            *blocks,
            runs(source, size="small", isSubtle=True),
        ],
        "actions": [{"type": "Action.OpenUrl", "title": name, "url": url} for name, url in links.items()],
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": content,
    }
    return {"type": "message", "attachments": [attachment]}


def runs(text: str, **style: object) -> Element:
    """A text as it is, whatever stands in it; its lines stay lines."""
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}


def _card(told: Telling, text: str, width: int) -> Element:
    blocks: list[Element] = [
        {"type": "RichTextBlock", "spacing": "none", "inlines": _named(name, cut(value, width))}
        for name, value in facts(told)
    ]
    happened = [_under(cut(line, width)) for line in sequence(told)]
    pairs = [runs(line, fontType="monospace", size="small") for line in text.split("\n")]
    steps = [_under(line) for line in runbook(told)]
    body = [
        *blocks,
        _heading("What happened (UTC)"),
        *happened,
        _heading("Pairs, the newest first"),
        *pairs,
        _heading("First steps"),
        *steps,
    ]
    return card(headline(told), told.alert.severity, body, origin(told), told.links.named())


def _heading(text: str) -> Element:
    return {**runs(text, weight="bolder"), "separator": True}


def _under(text: str) -> Element:
    return {**runs(text), "spacing": "small"}


def _named(name: str, value: str) -> list[Element]:
    return [
        {"type": "TextRun", "text": f"{name}: ", "weight": "bolder"},
        {"type": "TextRun", "text": value},
    ]
