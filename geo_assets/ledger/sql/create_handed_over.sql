-- What of a former source is handed over: its blobs, and the names that items and patches go by, which scenes have too.
CREATE TEMP TABLE handed_over (
    name text COLLATE "C" PRIMARY KEY,
    is_live boolean NOT NULL,
    is_scene boolean NOT NULL
) ON COMMIT DROP
