"""Variables, the functions between them, and the backward pass. Knows no prompt and no engine."""
