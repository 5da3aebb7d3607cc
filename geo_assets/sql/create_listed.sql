CREATE TEMP TABLE listed (
    page integer NOT NULL,
    name text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    size_bytes bigint NOT NULL,
    last_modified timestamptz NOT NULL,
    content_type text,
    md5 text
)
