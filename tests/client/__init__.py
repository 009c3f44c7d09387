"""Tests of the rooms of client/; most on real sockets of loopback."""
