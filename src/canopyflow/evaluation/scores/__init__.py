"""Scores of posteriors where the truth is known: point errors, intervals, joint draws."""
