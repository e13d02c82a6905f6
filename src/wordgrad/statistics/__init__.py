"""Whether one text is better than another: what scores prove, and how many are needed."""
