"""Counters by key, as HAProxy's stick tables: how often, how much, how fast; without Twisted."""
