"""What all else rests on: the settings, and the rules that they name."""

from collections.abc import Iterator

from detection.check.context import CheckContext
from detection.check.finding import Finding, green, red
from detection.messages.text import plural


def check_settings(context: CheckContext) -> Iterator[Finding]:
    """All that is wrong with the settings at once; no value is shown."""
    settings = context.settings
    setting_count = sum(
        name in context.environment and bool(context.environment[name].strip())
        for name in type(settings).model_fields
    )
    yield green("settings", f"{setting_count} set, all valid")


def check_rules(context: CheckContext) -> Iterator[Finding]:
    """Whether the rule folders are sound."""
    if not context.rules:
        yield red("rules", "every rule is off", "set `enabled: true` in one, or RULES to another")
    else:
        mode_notes = {"page": "", "observe": " (only observes: pages nobody)"}
        names = ", ".join(rule.folder + mode_notes[rule.on_call.mode] for rule in context.rules)
        yield green("rules", f"{plural(len(context.rules), 'rule')}: {names}")
