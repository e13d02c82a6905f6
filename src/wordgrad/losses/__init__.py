"""Functions that judge: in words, and with a score where there is one."""
