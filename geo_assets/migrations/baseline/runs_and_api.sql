-- What runs and sensors leave for each other, jobs that were submitted to the API, and what was written through it.

-- The values that travel between the steps of a run, where every host of a run finds them.
CREATE TABLE ledger.step_value (
    run_id text NOT NULL,
    step_key text NOT NULL,
    output text NOT NULL,
    mapping_key text NOT NULL DEFAULT '',
    value jsonb NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, step_key, output, mapping_key)
);

-- One row a source: the run that a sensor last asked for on its behalf. Dagster's run keys keep one sensor from asking
-- twice, not two sensors from asking once each.
CREATE TABLE ledger.run_request (
    source text PRIMARY KEY REFERENCES ledger.source ON DELETE CASCADE,
    sensor text NOT NULL,
    run_key text NOT NULL,
    digest text NOT NULL,
    attempt integer NOT NULL CHECK (attempt > 0),
    at timestamptz NOT NULL
);

-- One row a job: its id is the SHA-256 of its type and parameters. The runs are Dagster's, the latest last; of each,
-- Dagster knows how it stands, and state is what was last seen of that.
CREATE TABLE ledger.api_job (
    job_id text PRIMARY KEY CHECK (job_id ~ '^[0-9a-f]{64}$'),
    job_type text NOT NULL,
    parameters jsonb NOT NULL,
    state text NOT NULL,
    run_ids text[] NOT NULL DEFAULT '{}',
    submitted_by text NOT NULL,
    correlation_id text NOT NULL,
    submitted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Who wrote what through the API, in the transaction that wrote it.
CREATE TABLE ledger.api_write (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    written_by text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    collection_id text,
    item_id text,
    correlation_id text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
