-- What is made of blobs beside items: COGs with their files, and tables.

-- One row a blob that a COG was asked of: the version and rule that its COG is of, and those that failed last. etag is
-- null until there is one. is_linked: the blob is such a COG itself, and no file was made. name_in_place is the name of
-- the file in place, which is where the rule had it written.
CREATE TABLE ledger.cog (
    source text NOT NULL REFERENCES ledger.source,
    name text COLLATE "C" NOT NULL,
    etag text,
    rule_digest text,
    is_linked boolean NOT NULL DEFAULT false,
    place text,
    name_in_place text,
    href text,
    thumbnail_name text,
    thumbnail_href text,
    size_bytes bigint,
    original_bytes bigint,
    facts jsonb,
    seconds double precision,
    made_at timestamptz,
    failed_etag text,
    failed_rule text,
    failed_at timestamptz,
    error_code text,
    error_message text,
    permanent boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    run_id text,
    PRIMARY KEY (source, name)
);

-- One row a file in the output location that is, or is about to be, of a COG. It is written before the file is: so no
-- moment leaves one that the ledger does not know. kept: its raster is gone and the source's rule lets the file stay.
CREATE TABLE ledger.silver_file (
    place text NOT NULL,
    name_in_place text COLLATE "C" NOT NULL,
    source text NOT NULL,
    name text COLLATE "C" NOT NULL,
    kept boolean NOT NULL DEFAULT false,
    announced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id text,
    PRIMARY KEY (place, name_in_place)
);
CREATE INDEX silver_file_source ON ledger.silver_file (source, name);

-- One row a layer of a file. Of mode append and upsert many rows name one table. bbox is west, south, east, north in
-- degrees, NULL without geometries; columns is [{"name", "original", "type"}] in their order; rejected and dropped count
-- rows by reason.
CREATE TABLE ledger.vector_table (
    source text NOT NULL REFERENCES ledger.source,
    name text COLLATE "C" NOT NULL,
    layer text NOT NULL,
    table_schema text NOT NULL,
    table_name text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('replace', 'append', 'upsert')),
    etag text NOT NULL,
    rows bigint NOT NULL,
    geometry_column text NOT NULL,
    geometry_types text[] NOT NULL,
    srid integer NOT NULL,
    bbox double precision[],
    columns jsonb NOT NULL,
    driver text NOT NULL,
    source_crs text NOT NULL,
    repaired bigint NOT NULL,
    split bigint NOT NULL,
    linearised bigint NOT NULL,
    rejected jsonb NOT NULL,
    dropped jsonb NOT NULL,
    duplicates bigint NOT NULL,
    seconds double precision NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id text,
    PRIMARY KEY (source, name, layer)
);
CREATE INDEX vector_table_table ON ledger.vector_table (table_schema, table_name);
