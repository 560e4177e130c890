"""Pools of servers: membership, weights, counters."""
