"""The tables of an SQLite store, version by version.

``data`` is the whole record as JSON; the other columns are what is looked up by. Instants are
microseconds since 1970 UTC. A row is written together with many others, so that each index is
one that some transaction needs.
"""

from __future__ import annotations

#: Marks a database file as acron's: "acrn" in ASCII.
APPLICATION_ID = 0x6163726E

_TABLES = """
CREATE TABLE meta (
    token INTEGER NOT NULL,  -- the newest fencing token given out
    news INTEGER NOT NULL    -- goes up whenever somebody who waits for changes should look again
);
INSERT INTO meta VALUES (0, 0);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,      -- casefolded
    needs TEXT NOT NULL,
    due_at INTEGER,
    rank INTEGER NOT NULL,   -- of those due at one instant, the lowest comes first
    app TEXT,
    incidents INTEGER NOT NULL, -- how many it has
    data TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX jobs_due ON jobs (needs, due_at, rank) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_name ON jobs (name);
CREATE INDEX jobs_app ON jobs (app) WHERE app IS NOT NULL;
CREATE INDEX jobs_on_start ON jobs (id) WHERE instr(data, '"bound":"@reboot') > 0;

CREATE INDEX jobs_incidents ON jobs (id) WHERE incidents > 0;

CREATE TABLE job_tags (
    tag TEXT NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (tag, job_id)
) WITHOUT ROWID;
CREATE INDEX job_tags_job ON job_tags (job_id);

CREATE TABLE runs (
    token INTEGER NOT NULL,
    id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    state TEXT NOT NULL,
    node TEXT,
    due_at INTEGER NOT NULL,
    finished_at INTEGER,
    rank INTEGER NOT NULL,   -- its job's, while it is pending
    key TEXT,                -- whoever has the same is in its way
    unsent INTEGER NOT NULL, -- whether it has ended with deliveries to make
    told TEXT,               -- how its deliveries stand, when it has ended with some
    data TEXT NOT NULL,
    PRIMARY KEY (token, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX runs_id ON runs (id);
CREATE INDEX runs_job ON runs (job_id);
CREATE INDEX runs_open ON runs (job_id, state, node) WHERE state IN ('pending', 'running');
CREATE INDEX runs_pending ON runs (due_at, rank, job_id, id) WHERE state = 'pending';
CREATE INDEX runs_lane ON runs (key)
    WHERE key IS NOT NULL AND state IN ('pending', 'running');
CREATE INDEX runs_told ON runs (token, id, told) WHERE told IS NOT NULL;
CREATE INDEX runs_told_pending ON runs (token, id) WHERE instr(told, ' pending ') > 0;
CREATE INDEX runs_told_sending ON runs (token, id) WHERE instr(told, ' sending ') > 0;
CREATE INDEX runs_told_delivered ON runs (token, id) WHERE instr(told, ' delivered ') > 0;
CREATE INDEX runs_told_unverified ON runs (token, id) WHERE instr(told, ' unverified ') > 0;
CREATE INDEX runs_told_failed ON runs (token, id) WHERE instr(told, ' failed ') > 0;
CREATE INDEX runs_told_unknown ON runs (token, id) WHERE instr(told, ' unknown ') > 0;
CREATE INDEX runs_unsent ON runs (node) WHERE unsent = 1;
CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE skips (
    number INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX skips_job ON skips (job_id);
CREATE INDEX skips_recorded ON skips (recorded_at);
"""

#: The n-th brings a database from version n to n + 1. What is released is never edited again.
MIGRATIONS = (_TABLES,)
