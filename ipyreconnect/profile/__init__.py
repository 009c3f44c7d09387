"""What the client knows of each protocol: data, and what answers what in its conversation."""
