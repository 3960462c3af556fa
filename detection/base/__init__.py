"""What every other folder may use: errors, time, JSON. Nothing here knows of detection."""
