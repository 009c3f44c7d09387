"""Tests that look at the screen of a real IPython in a real terminal."""
