INSERT INTO ledger.source_trouble (source, since, times, until, code, message, remedy)
VALUES (%(source)s, %(since)s, %(times)s, %(until)s, %(code)s, %(message)s, %(remedy)s)
ON CONFLICT (source) DO UPDATE
SET since = EXCLUDED.since,
    times = EXCLUDED.times,
    until = EXCLUDED.until,
    code = EXCLUDED.code,
    message = EXCLUDED.message,
    remedy = EXCLUDED.remedy
