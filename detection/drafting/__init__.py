"""A published Sentinel rule that joins two sources becomes the draft of a rule folder. For the keyboard, not deployed.

pieces.py   KQL text → statements and operators, each with its line
query.py    the query → two sides, the actor, the time between
guess.py    a connector that is not there yet
columns.py  what a query returns, asked of the local engine
side.py     one side → its KQL here, its columns and what they mean
fields.py   the fields of a Sentinel rule → those that are honoured here
draft.py    the line: published rule → files, and remarks on what is left to do
folder.py   the files, written and checked
"""
