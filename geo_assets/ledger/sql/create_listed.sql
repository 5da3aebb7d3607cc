-- The page that is being merged: emptied by each commit.
CREATE TEMP TABLE listed (
    name text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    size_bytes bigint NOT NULL,
    last_modified timestamptz NOT NULL,
    content_type text,
    md5 text
) ON COMMIT DELETE ROWS
