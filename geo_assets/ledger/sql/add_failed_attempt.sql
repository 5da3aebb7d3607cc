INSERT INTO ledger.failed_attempt (source, name, etag, stage, error_code, error_message, error_remedy, permanent, run_id)
SELECT
    %(source)s, %(name)s, %(etag)s, %(stage)s, %(code)s, %(message)s, %(remedy)s,
    %(permanent)s OR EXISTS (
        SELECT FROM ledger.blob
        WHERE source = %(source)s AND name = %(name)s AND failed_etag = %(etag)s AND permanent
    ),
    %(run_id)s
