"""The configuration.

``model`` is its shape, ``load`` reads text into it, ``addresses``, ``units``, ``templates`` and ``tlvs`` hold its small
grammars, ``inherit`` says what applies in the end, ``schema`` describes it for editors.
"""
