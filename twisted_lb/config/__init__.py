"""The configuration.

``model`` is its shape; each table is a ``section``, made of ``values`` and of what ``uses``, ``policies``,
``timeouts``, ``tcp``, ``proxy_header`` and ``http`` describe. ``load`` reads text into it, ``addresses``, ``units``,
``templates`` and ``tlvs`` hold its small grammars, ``inherit`` says what applies in the end, ``schema`` describes it
for editors.
"""
