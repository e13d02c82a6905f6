"""Where runs are kept: SQLite, one file."""
