-- What listings and queues told, and sources that could not be looked at.

-- A resumed listing keeps its row; its generation is new, for the sensor tells by it that a listing took place.
CREATE SEQUENCE ledger.listing_generation;
CREATE TABLE ledger.listing (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL REFERENCES ledger.source,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    complete boolean NOT NULL DEFAULT false,
    new bigint NOT NULL DEFAULT 0,
    changed bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0,
    unchanged bigint NOT NULL DEFAULT 0,
    run_id text,
    -- How far it got, so that one whose run died goes on instead of starting over.
    shard text NOT NULL DEFAULT '',
    rule text NOT NULL DEFAULT '',
    marker text,
    pages integer NOT NULL DEFAULT 0,
    ignored jsonb NOT NULL DEFAULT '{}',
    touched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    generation bigint NOT NULL DEFAULT nextval('ledger.listing_generation'),
    -- How much it found that events should have told before it.
    repaired bigint NOT NULL DEFAULT 0
);

-- The ids that a page of an unfinished listing found unchanged; gone as soon as the listing is finished.
CREATE TABLE ledger.listing_page (
    listing_id bigint NOT NULL REFERENCES ledger.listing ON DELETE CASCADE,
    page integer NOT NULL,
    unchanged int8multirange NOT NULL,
    PRIMARY KEY (listing_id, page)
);

-- One row a batch of messages that was received and settled: what the paths are compared by.
CREATE TABLE ledger.received_batch (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path text NOT NULL CHECK (path IN ('storage_queue', 'service_bus')),
    queue text NOT NULL,
    received_at timestamptz NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    messages integer NOT NULL,
    events integer NOT NULL,
    new integer NOT NULL,
    changed integer NOT NULL,
    deleted integer NOT NULL,
    unchanged integer NOT NULL,
    dropped jsonb NOT NULL DEFAULT '{}',
    redelivered integer NOT NULL,
    abandoned integer NOT NULL,
    poisoned integer NOT NULL
);
CREATE INDEX received_batch_received_at ON ledger.received_batch (received_at);

-- One row a message that was given up: where it went and why. The whole message lies in the dead-letter queue, under the
-- id that it has there.
CREATE TABLE ledger.message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path text NOT NULL CHECK (path IN ('storage_queue', 'service_bus')),
    queue text NOT NULL,
    message_id text NOT NULL,
    correlation_id text,
    delivery_count integer NOT NULL,
    enqueued_at timestamptz,
    error_code text NOT NULL,
    error_message text NOT NULL,
    body_start text NOT NULL,
    dead_letter_id text,
    state text NOT NULL DEFAULT 'to_dead_letter'
        CHECK (state IN ('to_dead_letter', 'dead_letter', 'replayed', 'dropped')),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (path, queue, message_id)
);

-- One row a source that could not be looked at: since when, why, and when it is looked at again. Gone once it could be.
CREATE TABLE ledger.source_trouble (
    source text PRIMARY KEY REFERENCES ledger.source ON DELETE CASCADE,
    since timestamptz NOT NULL,
    times integer NOT NULL CHECK (times > 0),
    until timestamptz NOT NULL,
    code text NOT NULL,
    message text NOT NULL,
    remedy text NOT NULL
);
