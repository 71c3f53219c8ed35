"""What keeps the platform's own house in order."""
