-- What a store keeps. Rows hold their record whole, in "data" (MessagePack); the other columns are
-- what is searched by. Text is compared by code point, as Python does.

CREATE TABLE jobs (
    id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL,  -- case-folded, its beginning
    needs text COLLATE "C" NOT NULL,
    due_at timestamptz,  -- null: not to be claimed
    data bytea NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX jobs_by_name ON jobs (name);
CREATE INDEX jobs_due ON jobs (due_at, id) WHERE due_at IS NOT NULL;

CREATE TABLE runs (
    id text COLLATE "C" PRIMARY KEY,
    job_id text COLLATE "C" NOT NULL,
    token bigint NOT NULL,
    state text COLLATE "C" NOT NULL,
    node text COLLATE "C",
    due_at timestamptz NOT NULL,
    finished_at timestamptz,
    unsent boolean NOT NULL,  -- ended, with deliveries to make
    data bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX runs_newest ON runs (token, id);
CREATE INDEX runs_of_job ON runs (job_id, token, id);
CREATE INDEX runs_open ON runs (job_id) WHERE state IN ('pending', 'running');
CREATE INDEX runs_due ON runs (due_at, job_id, id) WHERE state = 'pending';
-- What a node has in hand.
CREATE INDEX runs_of_node ON runs (node) WHERE state = 'running' OR unsent;

CREATE TABLE skips (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,  -- when it was recorded
    data bytea NOT NULL
);

CREATE INDEX skips_of_job ON skips (job_id, number);

CREATE TABLE nodes (
    id text COLLATE "C" PRIMARY KEY,
    expires timestamptz NOT NULL,  -- by this database's clock; alive until then
    data bytea NOT NULL
);

-- Fencing tokens. Never cached by a session: a later claim must get a larger one.
CREATE SEQUENCE tokens;
