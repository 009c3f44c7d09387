"""Benchmarks: ours against what a user would write instead, in one run; they print and never assert."""
