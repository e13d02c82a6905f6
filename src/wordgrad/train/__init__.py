"""Searching for better values, and measuring whether they are."""
