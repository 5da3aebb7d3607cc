-- Which item is whose, and what people state of single items.

-- Which blob owns which item: the guard against two blobs with one id, and the list of what to withdraw. A blob may own
-- several, for a file of vectors has an item a layer.
CREATE TABLE ledger.item (
    collection_id text NOT NULL,
    item_id text NOT NULL,
    source text NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (collection_id, item_id)
);
CREATE INDEX item_source_name ON ledger.item (source, name);

-- One row an item that somebody patched, by the name of its blob or the id of its scene: a JSON merge patch (RFC 7396)
-- of its properties. It outlives the blob, as what is stated in sources.yaml does.
CREATE TABLE ledger.item_patch (
    source text NOT NULL REFERENCES ledger.source,
    name text COLLATE "C" NOT NULL,
    patch jsonb NOT NULL CHECK (jsonb_typeof(patch) = 'object'),
    patched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, name)
);
