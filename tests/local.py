"""Everything on this machine: Azurite, the double of the query API, a receiver, and the job between them.

`make local` runs it: two days of hourly runs over the golden logs, behind the real clients, what the receiver was
sent, and then the check of it all. See docs/local.md.
"""

from datetime import UTC, datetime
from uuid import uuid4

from rich.progress import track

from detection.app import open_job
from detection.check.checklist import run_checks
from detection.check.checks import all_checks
from detection.check.context import CheckContext
from detection.cli.output import write_findings
from detection.messages.text import escape_line
from detection.rules.loading import load_rule
from detection.settings import settings_from
from tests.regenerate import LOGS
from tests.support.azurite import connection_string, running
from tests.support.query_api import query_api, tables_of
from tests.support.receiver import receiving
from tests.test_whole_line import FIRST_RUN, LAST_RUN, Pipeline, hours

RULE = load_rule("openai-config-to-abuse")


def main() -> None:
    """Runs, and prints every message as it came in."""
    with (
        running() as port,
        tables_of(LOGS, RULE.tables) as tables,
        query_api(tables) as api,
        receiving() as receiver,
    ):
        environment = {
            "LOG_ANALYTICS_WORKSPACE_ID": str(uuid4()),
            "LOG_ANALYTICS_ENDPOINT": api.endpoint,
            "INCIDENT_STORAGE": connection_string(port),
            "WEBHOOK_URL": receiver.url,
            "ALARM_EMAILS": "soc@example.com",
        }
        settings = settings_from(environment)
        print(f"Azurite on port {port}, query API at {api.endpoint}, receiver at {receiver.url}\n")
        pipeline = Pipeline(open_job(settings, lambda: datetime.now(UTC)), api, receiver)
        pipeline.runs(track(list(hours(FIRST_RUN, LAST_RUN)), description="hourly runs"))
        for message in receiver.messages:
            data = message["data"]
            print(f"{data['time']}  {message['type']}  {escape_line(data['title'])}")
        incidents = pipeline.job.desk.incidents()
        print(f"\n{len(receiver.bodies)} messages arrived, {len(incidents)} incidents are in the table\n")
        print("python -m detection check --canary, at the moment of the last run:\n")
        write_findings([*run_checks(all_checks(CheckContext(environment, lambda: LAST_RUN), "canary"))])


if __name__ == "__main__":
    main()
