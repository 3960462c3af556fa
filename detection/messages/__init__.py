"""What an alert looks like to those who read it: one function a format."""
