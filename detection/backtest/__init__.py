"""The alerts that a rule would have raised in the past, as figures and a report. Not deployed."""
