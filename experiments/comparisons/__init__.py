"""Sentences of the lessons that compare trained numbers, each run with five seeds, by the lessons' own cells."""
