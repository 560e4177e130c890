"""Rules: conditions on facts, written as text, and what happens to the connections that meet them.

``compile_expression`` in ``expression`` makes a condition of a text, and ``parse_fact`` finds the fact that one names;
``build_rule`` in ``rule`` makes a policy of an entry of ``policies``.
"""
