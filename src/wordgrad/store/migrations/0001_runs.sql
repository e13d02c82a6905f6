CREATE TABLE texts (
  hash TEXT PRIMARY KEY,
  body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  seed INTEGER NOT NULL,
  secret BLOB NOT NULL,
  started_at REAL NOT NULL
) STRICT;

CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  key TEXT NOT NULL,
  engine TEXT NOT NULL,
  purpose TEXT NOT NULL,
  sample TEXT NOT NULL,
  template TEXT NOT NULL,
  request TEXT NOT NULL REFERENCES texts (hash),
  state TEXT NOT NULL CHECK (state IN ('sent', 'done', 'failed', 'lost')),
  reply TEXT REFERENCES texts (hash),
  finish TEXT,
  error TEXT,
  model TEXT,
  input_tokens INTEGER NOT NULL DEFAULT 0,
  output_tokens INTEGER NOT NULL DEFAULT 0,
  cached_input_tokens INTEGER NOT NULL DEFAULT 0,
  cost_usd REAL,
  latency_s REAL,
  -- 1: a reply that another run paid for; nothing was sent.
  shared INTEGER NOT NULL DEFAULT 0,
  sent_at REAL NOT NULL,
  -- Seconds of the run, time between an interruption and its resumption left out: when it was sent, then when it ended.
  run_s REAL NOT NULL
) STRICT;
CREATE INDEX attempts_of_run ON attempts (run, key);
CREATE INDEX replies ON attempts (key) WHERE state = 'done';

CREATE TABLE places (
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  place TEXT NOT NULL,
  call INTEGER NOT NULL,
  key TEXT NOT NULL,
  -- The last attempt of the key that this place saw end; NULL where none was made, as when the clock refused it.
  attempt INTEGER,
  error TEXT,
  PRIMARY KEY (run, place, call)
) STRICT, WITHOUT ROWID;

CREATE TABLE results (
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  place TEXT NOT NULL,
  name TEXT NOT NULL,
  source TEXT NOT NULL,
  inputs TEXT NOT NULL,
  value TEXT NOT NULL REFERENCES texts (hash),
  PRIMARY KEY (run, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  at REAL NOT NULL,
  kind TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_run ON events (run, id);

CREATE TABLE versions (
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  variable TEXT NOT NULL,
  version INTEGER NOT NULL,
  value TEXT NOT NULL REFERENCES texts (hash),
  PRIMARY KEY (run, variable, version)
) STRICT, WITHOUT ROWID;
