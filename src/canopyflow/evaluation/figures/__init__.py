"""Figures of the report, one module per kind so that an edit redraws only its own."""
