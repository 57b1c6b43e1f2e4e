-- What a store keeps. Rows hold their record whole, in "data" (MessagePack); the other columns are
-- what is searched by. Text is compared by code point, as Python does.

CREATE TABLE jobs (
    id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL,  -- case-folded, its beginning
    needs text COLLATE "C" NOT NULL,
    app text COLLATE "C",  -- the program that declares it
    on_start boolean NOT NULL,  -- due when a node starts
    due_at timestamptz,  -- null: not to be claimed
    rank bigint NOT NULL,  -- of those due at one instant, the lowest comes first
    incidents integer NOT NULL,  -- how many it has
    data bytea NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX jobs_by_name ON jobs (name);
CREATE INDEX jobs_of_app ON jobs (app, id) WHERE app IS NOT NULL;
CREATE INDEX jobs_on_start ON jobs (id) WHERE on_start;
CREATE INDEX jobs_due ON jobs (due_at, rank, id) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_incidents ON jobs (id) WHERE incidents > 0;

-- A digest of the tag: a text may be too long for an index, or hold what no text may here.
CREATE TABLE job_tags (
    tag bytea NOT NULL,
    job_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (tag, job_id)
);

CREATE INDEX job_tags_of_job ON job_tags (job_id);

-- Runs move once: what is pending or running is small and changes, what has ended only grows.
-- A run's id is "r" and its number.
CREATE TABLE open_runs (
    number bigint PRIMARY KEY,
    job_id text COLLATE "C" NOT NULL,
    token bigint NOT NULL,
    state text COLLATE "C" NOT NULL,
    node text COLLATE "C",
    due_at timestamptz,  -- of a pending one
    rank bigint NOT NULL,  -- its job's, while it is pending
    lane bytea,  -- a digest of its key: whoever has the same is in its way
    data bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX open_runs_of_job ON open_runs (job_id);
CREATE INDEX open_runs_due ON open_runs (due_at, rank, job_id, number) WHERE due_at IS NOT NULL;
CREATE INDEX open_runs_in_lane ON open_runs (lane) WHERE lane IS NOT NULL;
CREATE INDEX open_runs_waiting ON open_runs (job_id) WHERE due_at IS NOT NULL;

CREATE TABLE ended_runs (
    number bigint PRIMARY KEY,
    job_id text COLLATE "C" NOT NULL,
    token bigint NOT NULL,
    state text COLLATE "C" NOT NULL,
    node text COLLATE "C",
    finished_at timestamptz NOT NULL,
    unsent boolean NOT NULL,  -- there are deliveries to make
    told text[],  -- how its deliveries stand, when it has some
    data bytea NOT NULL
);

CREATE INDEX ended_runs_newest ON ended_runs (token, number);
CREATE INDEX ended_runs_of_job ON ended_runs (job_id, token, number);
CREATE INDEX ended_runs_told ON ended_runs (token, number) WHERE told IS NOT NULL;
CREATE INDEX ended_runs_pending ON ended_runs (token, number) WHERE told @> '{pending}';
CREATE INDEX ended_runs_sending ON ended_runs (token, number) WHERE told @> '{sending}';
CREATE INDEX ended_runs_delivered ON ended_runs (token, number) WHERE told @> '{delivered}';
CREATE INDEX ended_runs_unverified ON ended_runs (token, number) WHERE told @> '{unverified}';
CREATE INDEX ended_runs_failed ON ended_runs (token, number) WHERE told @> '{failed}';
CREATE INDEX ended_runs_unknown ON ended_runs (token, number) WHERE told @> '{unknown}';
CREATE INDEX ended_runs_unsent ON ended_runs (node) WHERE unsent;

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

-- What was committed lately, for whoever never got the answer. (The number that PostgreSQL has for
-- a transaction is no proof: after a crash another one may bear it.)
CREATE TABLE commits (
    id bigint PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
