"""What the client knows of each protocol."""
