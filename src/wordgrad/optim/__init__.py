"""Optimizers: they turn the feedback on Variables into new values."""
