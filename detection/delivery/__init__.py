"""Delivery: messages from the outbox to the destinations."""
