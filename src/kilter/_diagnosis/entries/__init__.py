"""Texts of findings by what they are about; :mod:`kilter._diagnosis.catalogue` joins them.

Each is ``(title, remedies in the order to try them, reference, explanation)`` by code.
"""

Text = tuple[str, tuple[str, ...], str, str]
"""Title, remedies, reference and explanation of a code."""
