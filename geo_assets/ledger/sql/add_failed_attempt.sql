INSERT INTO ledger.failed_attempt (source, name, etag, stage, error_code, error_message, permanent, run_id)
VALUES (%(source)s, %(name)s, %(etag)s, %(stage)s, %(code)s, %(message)s, %(permanent)s, %(run_id)s)
