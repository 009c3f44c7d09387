"""Tests of `ipyreconnect.lines`."""
