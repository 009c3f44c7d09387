"""The protocol: bytes and the time come in, bytes and events go out; no sockets, threads, clocks or
randomness.
"""
