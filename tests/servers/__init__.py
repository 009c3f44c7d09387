"""The servers that the tests talk to: real ones, and one that can be told to misbehave; no tests in here."""
