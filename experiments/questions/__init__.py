"""Sharper questions to the layers of the lessons: one module a question, rows, tables and figures as in the evidence."""
