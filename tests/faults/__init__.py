"""Breaks real networks, each in namespaces of its own, and measures what becomes of the connections."""
