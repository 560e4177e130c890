"""Ours beside HAProxy, nginx, Envoy and Twisted's portforward on this machine, by ``python -m benchmarks``.

``proxies`` the peers · ``backend`` the web server behind them · ``loads`` what clients do · ``workloads`` which load
goes to which peers · ``process`` and ``cpu`` child processes and what they cost · ``report`` medians, ratios, tables.
How to read the figures: ``docs/how-to/run-the-benchmarks.md``.
"""
