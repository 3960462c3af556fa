"""What a rule would have told over a stretch of the past: read once, run hour by hour, counted, drawn. For the keyboard, not deployed."""
