-- Only of the version the ledger knows.
INSERT INTO ledger.scene_document (source, name, etag, content, run_id)
SELECT b.source, b.name, b.etag, %(content)s::jsonb, %(run_id)s::text
FROM ledger.blob AS b
WHERE b.source = %(source)s AND b.name = %(name)s AND b.etag = %(etag)s
FOR NO KEY UPDATE OF b
ON CONFLICT (source, name) DO UPDATE SET etag = EXCLUDED.etag, content = EXCLUDED.content, run_id = EXCLUDED.run_id
