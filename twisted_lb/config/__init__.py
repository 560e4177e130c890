"""The configuration: ``model`` is its shape, ``load`` reads text into it, ``addresses`` and ``units`` its small grammars."""
