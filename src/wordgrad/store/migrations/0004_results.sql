-- A result of a function is found by what it was called with, whatever run and place it was called in.
CREATE INDEX results_by_content ON results (name, source, inputs, run);
