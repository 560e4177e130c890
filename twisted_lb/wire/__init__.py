"""Bytes to values and back: no Twisted, no clock, no logging, no state between calls."""
