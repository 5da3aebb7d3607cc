-- Back to the work that is left; what failed before stays in the history of attempts.
WITH replayed AS (
    UPDATE ledger.blob AS b SET failed_etag = NULL, permanent = false
    FROM ledger.blob_state AS q
    WHERE q.source = b.source AND q.name = b.name AND q.state = 'quarantined' AND q.permanent
        AND (%(source)s::text IS NULL OR q.source = %(source)s)
        AND (%(code)s::text IS NULL OR q.error_code = %(code)s)
        AND (%(prefix)s::text IS NULL OR starts_with(q.name, %(prefix)s))
    RETURNING b.name
)
SELECT count(*) AS replayed FROM replayed
