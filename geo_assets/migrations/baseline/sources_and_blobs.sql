-- Sources, one row a blob, and what is known of each blob.
-- Names compare by byte, so that a batch's first and last name mean the same here and in every store.

CREATE TABLE ledger.source (
    source text PRIMARY KEY,
    url text NOT NULL,
    collection_id text NOT NULL,
    rule_digest text NOT NULL,
    reading_digest text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deletion_grace interval NOT NULL DEFAULT '0',
    required_assets text[] NOT NULL DEFAULT '{}',
    has_had_scenes boolean NOT NULL DEFAULT false,
    -- The database's time before a look that an event asked for and that was too much for it. A whole listing that
    -- began later has seen what that look should have seen.
    listing_asked_at timestamptz
);

-- Its three etags are its state: ledger.blob_state says what they mean.
CREATE TABLE ledger.blob (
    source text NOT NULL REFERENCES ledger.source,
    name text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    size_bytes bigint NOT NULL,
    last_modified timestamptz NOT NULL,
    content_type text,
    md5 text,
    etag_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    described_etag text,
    described_reading text,
    catalogued_etag text,
    catalogued_rule text,
    catalogued_at timestamptz,
    failed_etag text,
    failed_rule text,
    failed_stage text CHECK (failed_stage IN ('describe', 'catalogue')),
    failed_at timestamptz,
    error_code text,
    error_message text,
    permanent boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    deleted_at timestamptz,
    run_id text,
    -- Says which known blobs a page showed in a few bytes: ids follow names where blobs came in by a listing.
    id bigint GENERATED ALWAYS AS IDENTITY,
    -- Whether the item of a gone blob awaits consent: NULL until a run has judged the deletion.
    deletion_held boolean,
    -- How blobs were read when this one was refused for what was read.
    failed_reading text,
    -- What the name says by the source's group rule; grouped_by is the digest of the rule that was applied.
    scene_id text COLLATE "C",
    asset_key text,
    member_kind text NOT NULL DEFAULT 'raster' CHECK (member_kind IN ('raster', 'document', 'other')),
    grouped_by text,
    -- Of the version that etag names: which path saw it first, when it came to be (the event's time, or the blob's
    -- Last-Modified where a listing saw it), under which correlation id, and when its item could first be found.
    observed_by text NOT NULL DEFAULT 'listing' CHECK (observed_by IN ('listing', 'storage_queue', 'service_bus')),
    event_time timestamptz,
    correlation_id text,
    -- The newest of all the blob's events, of its deletion too.
    sequencer text,
    searchable_at timestamptz,
    -- When the look at the store began by which the row is as it is: an older look that ends later does not undo it.
    looked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- 1 at first, one more with each other etag that follows, also after a deletion; previous_etag is that of the
    -- version before.
    versions_seen integer NOT NULL DEFAULT 1,
    previous_etag text,
    -- One more with each change of the item's patch, so that an item built with an older one is not taken for done.
    patch_revision integer NOT NULL DEFAULT 0,
    -- The item id that it was refused for wanting, so that it tries again when that one becomes free. NULL: any id of
    -- the collection that becomes free opens it again.
    wanted_item_id text,
    PRIMARY KEY (source, name)
);
-- The few blobs that can have no item, without looking at all the others.
CREATE INDEX blob_without_item ON ledger.blob (source) WHERE deleted_at IS NOT NULL OR permanent;
CREATE INDEX blob_scene ON ledger.blob (source, scene_id) WHERE scene_id IS NOT NULL;

CREATE TABLE ledger.raster_metadata (
    source text NOT NULL,
    name text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    metadata jsonb NOT NULL,
    described_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id text,
    PRIMARY KEY (source, name)
);

-- What a scene's JSON members say.
CREATE TABLE ledger.scene_document (
    source text NOT NULL,
    name text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    content jsonb NOT NULL,
    run_id text,
    PRIMARY KEY (source, name)
);

-- One version of a blob that is the content of a gone one; the row goes with the blob's.
CREATE TABLE ledger.rename (
    source text NOT NULL,
    new_name text COLLATE "C" NOT NULL,
    old_name text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id text,
    PRIMARY KEY (source, new_name),
    FOREIGN KEY (source, new_name) REFERENCES ledger.blob ON DELETE CASCADE
);
CREATE INDEX rename_old_name ON ledger.rename (source, old_name);

CREATE TABLE ledger.failed_attempt (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    name text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    stage text NOT NULL,
    error_code text NOT NULL,
    error_message text NOT NULL,
    permanent boolean NOT NULL,
    run_id text,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
