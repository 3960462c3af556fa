"""What an alert looks like to those who read it: one pure function a format."""
