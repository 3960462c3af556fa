"""What all else rests on: the settings, and the rules that they name."""

from collections.abc import Iterator

from detection.check.bench import Bench
from detection.check.finding import Finding, green, red
from detection.messages.text import many


def settings(bench: Bench) -> Iterator[Finding]:
    """All that is wrong with the settings at once; no value is shown."""
    chosen = bench.settings
    given = sum(
        name in bench.environment and bool(bench.environment[name].strip())
        for name in type(chosen).model_fields
    )
    yield green("settings", f"{given} set, all valid")


def rules(bench: Bench) -> Iterator[Finding]:
    """Whether the rule folders are sound."""
    if not bench.rules:
        yield red("rules", "every rule is off", "set `enabled: true` in one, or RULES to another")
    else:
        observes = {"page": "", "observe": " (only observes: pages nobody)"}
        names = ", ".join(rule.folder + observes[rule.on_call.mode] for rule in bench.rules)
        yield green("rules", f"{many(len(bench.rules), 'rule')}: {names}")
