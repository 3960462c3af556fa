"""How long a run may take. Every limit derives from the time that the Functions host gives an invocation."""

from datetime import timedelta

# `functionTimeout` in host.json: the host kills an invocation that takes longer. Half an hour is the default
# of Flex Consumption, which has no maximum: an instance has an hour for its executions when it is scaled in,
# and ten minutes when the platform is updated. Runs are an hour apart.
# https://learn.microsoft.com/azure/azure-functions/functions-scale#timeout
FUNCTION_TIMEOUT = timedelta(minutes=30)
# Of all rules in the functions host. The rest is for the last calls: see GRACE in app.py.
RUN_TIME = FUNCTION_TIMEOUT - timedelta(seconds=100)
# Of a rule, from the start of its reading, within which a query may be sent. The rest is for the last answer,
# for correlating and for committing.
READ_TIME = RUN_TIME * 0.6
# Longer than a run can take and clocks can differ.
LONGEST_RUN = FUNCTION_TIMEOUT + timedelta(minutes=5)
