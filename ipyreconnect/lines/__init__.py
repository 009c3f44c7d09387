"""What a line is: its text, its framing, and the transcript that keeps it."""
