"""The documentation's notebooks, run from top to bottom and looked at."""
