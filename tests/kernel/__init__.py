"""What needs a real kernel, and what a front end sees of it; no browser."""
