"""A store that tells a test which commits took effect."""

from abc import abstractmethod
from collections.abc import Sequence

from detection.incidents.decide import Verdict
from detection.store.incident_store import Commit, IncidentStore
from detection.store.layout import head_row
from detection.store.table import Operation
from tests.support.world.doubles import FaultyTable


class CommitWitness(IncidentStore):
    """The real store; calls `note_commit` with every verdict that took effect, whatever the run heard of it."""

    def __init__(self, table: FaultyTable, rule: str, token: str) -> None:
        super().__init__(table, rule, token)
        self.faulty_table = table

    def commit(self, commits: Sequence[Commit], draft_rows: Sequence[Operation] = ()) -> None:
        self.faulty_table.rows_written.clear()
        try:
            super().commit(commits, draft_rows)
        finally:
            for commit in commits:
                if (self.rule, head_row(commit.verdict.state.key)) in self.faulty_table.rows_written:
                    self.note_commit(commit.verdict)

    @abstractmethod
    def note_commit(self, verdict: Verdict) -> None:
        """Notes a verdict that took effect."""
