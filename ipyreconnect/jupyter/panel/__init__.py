"""The panel, and what its page is told."""
