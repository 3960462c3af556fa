"""An alert as an Adaptive Card in the envelope that a Teams workflow takes. Pure.

Whatever comes from the logs stands in text runs, where Teams reads neither Markdown nor links nor mentions (Adaptive
Cards: "RichTextBlock", which knows no Markdown). A workflow refuses more than about 28 KB and was seen to
fail from 21 KB on: the message is kept below 20,000 bytes, by leaving out the oldest pairs first.
"""

from collections.abc import Sequence

from pydantic_core import to_json

from detection.messages.facts import cut, evidence, facts, origin, pair_lines
from detection.messages.fitting import fitting
from detection.messages.telling import Telling
from detection.messages.text import title

MESSAGE_BYTES = 20_000
TITLE = 500
FALLBACK = "An alert of this detection. This client is too old to show it."  # may be read as Markdown: nothing of the logs
COLORS = {"High": "attention", "Medium": "warning", "Low": "accent", "Informational": "default"}

Element = dict[str, object]


def teams(told: Telling) -> bytes:
    """The message as JSON bytes."""
    pairs = pair_lines(told)

    def render(shown: int) -> bytes:
        return to_json(_card(told, evidence(told, pairs[:shown])), ensure_ascii=True)

    return fitting(len(pairs), render, MESSAGE_BYTES)


def card(headline: str, severity: str, blocks: Sequence[Element], source: str) -> Element:
    """A card between its headline and where it comes from, in its envelope."""
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": FALLBACK,
        "msteams": {"width": "Full"},
        "body": [
            runs(cut(headline, TITLE), weight="bolder", size="medium", color=COLORS[severity]),
            *blocks,
            runs(source, size="small", isSubtle=True),
        ],
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


def _card(told: Telling, text: str) -> Element:
    blocks: list[Element] = [
        {"type": "RichTextBlock", "spacing": "none", "inlines": _named(name, value)}
        for name, value in facts(told)
    ]
    pairs = [runs(line, fontType="monospace", size="small") for line in text.split("\n")]
    return card(title(told.alert, told.rule), told.alert.severity, [*blocks, *pairs], origin(told))


def _named(name: str, value: str) -> list[Element]:
    return [
        {"type": "TextRun", "text": f"{name}: ", "weight": "bolder"},
        {"type": "TextRun", "text": cut(value, TITLE)},
    ]
