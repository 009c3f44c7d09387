"""The client: what users call, and what waits, follows and records for them."""
