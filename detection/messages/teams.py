"""An alert as an Adaptive Card in the envelope that a Teams workflow takes.

Whatever comes from the logs stands in text runs, where Teams reads neither Markdown nor links nor mentions (Adaptive
Cards: "RichTextBlock", which knows no Markdown). A workflow refuses more than about 28 KB and was seen to
fail from 21 KB on: the message is kept below 20,000 bytes, by leaving out the oldest pairs first.
"""

from collections.abc import Mapping, Sequence

from pydantic_core import to_json

from detection.messages.context import AlertContext
from detection.messages.facts import cut, evidence, facts, headline, origin, pair_lines, runbook, sequence
from detection.messages.text import decreasing_counts, render_to_fit

MESSAGE_BYTES = 20_000
TITLE = 500
NARROW_WIDTHS = (100, 50)  # characters of a value, where every one of them takes twelve bytes
FALLBACK = "An alert of this detection. This client is too old to show it."  # may be read as Markdown: nothing of the logs
COLORS = {"High": "attention", "Medium": "warning", "Low": "accent", "Informational": "default"}

NO_LINKS: Mapping[str, str] = {}

Element = dict[str, object]


def teams(context: AlertContext) -> bytes:
    """The message as JSON bytes."""
    pairs = pair_lines(context)

    def render(variant: tuple[int, int]) -> bytes:
        width, pair_count = variant
        return to_json(_card(context, evidence(context, pairs[:pair_count]), width), ensure_ascii=True)

    variants = [(TITLE, pair_count) for pair_count in decreasing_counts(len(pairs))]
    return render_to_fit([*variants, *((width, 0) for width in NARROW_WIDTHS)], render, MESSAGE_BYTES)


def card(
    title: str, severity: str, blocks: Sequence[Element], source: str, links: Mapping[str, str] = NO_LINKS
) -> Element:
    """A card between its first line and where it comes from, with buttons that lead on, in its envelope."""
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": FALLBACK,
        "msteams": {"width": "Full"},
        "body": [
            text_block(cut(title, TITLE), weight="bolder", size="medium", color=COLORS[severity]),
            *blocks,
            text_block(source, size="small", isSubtle=True),
        ],
        "actions": [{"type": "Action.OpenUrl", "title": name, "url": url} for name, url in links.items()],
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": content,
    }
    return {"type": "message", "attachments": [attachment]}


def text_block(text: str, **style: object) -> Element:
    """A text as it is, whatever stands in it; its lines stay lines."""
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}


def _card(context: AlertContext, text: str, width: int) -> Element:
    blocks: list[Element] = [
        {"type": "RichTextBlock", "spacing": "none", "inlines": _labelled(name, cut(value, width))}
        for name, value in facts(context)
    ]
    happened = [_body_line(cut(line, width)) for line in sequence(context)]
    pairs = [text_block(line, fontType="monospace", size="small") for line in text.split("\n")]
    steps = [_body_line(line) for line in runbook(context)]
    body = [
        *blocks,
        _heading("What happened (UTC)"),
        *happened,
        _heading("Pairs, the newest first"),
        *pairs,
        _heading("First steps"),
        *steps,
    ]
    return card(
        headline(context), context.alert.severity, body, origin(context), context.links.urls_by_label()
    )


def _heading(text: str) -> Element:
    return {**text_block(text, weight="bolder"), "separator": True}


def _body_line(text: str) -> Element:
    return {**text_block(text), "spacing": "small"}


def _labelled(name: str, value: str) -> list[Element]:
    return [
        {"type": "TextRun", "text": f"{name}: ", "weight": "bolder"},
        {"type": "TextRun", "text": value},
    ]
