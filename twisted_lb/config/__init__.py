"""The configuration.

``model`` is its shape, ``load`` reads text into it, ``addresses`` and ``units`` hold its small grammars, ``inherit``
says what applies in the end, ``schema`` describes it for editors.
"""
