-- Who asked: the role of the call's output, or the parameter that is rewritten. "" in a run of before.
ALTER TABLE attempts ADD COLUMN node TEXT NOT NULL DEFAULT '';
