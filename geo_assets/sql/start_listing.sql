INSERT INTO ledger.listing (source, run_id) VALUES (%(source)s, %(run_id)s) RETURNING id, started_at
