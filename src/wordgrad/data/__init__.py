"""Rows to train and to test on."""
