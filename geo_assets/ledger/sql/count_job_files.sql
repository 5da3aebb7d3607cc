SELECT state, count(*) AS files
FROM ledger.blob_state
WHERE source = %(source)s AND (%(every)s OR run_id = ANY(%(run_ids)s::text[]))
GROUP BY state
ORDER BY state
