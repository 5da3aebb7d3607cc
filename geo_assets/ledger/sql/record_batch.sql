INSERT INTO ledger.received_batch (
    path, queue, received_at, messages, events, new, changed, deleted, unchanged, dropped, redelivered, abandoned, poisoned
)
VALUES (
    %(path)s, %(queue)s, %(received_at)s, %(messages)s, %(events)s, %(new)s, %(changed)s, %(deleted)s, %(unchanged)s,
    %(dropped)s, %(redelivered)s, %(abandoned)s, %(poisoned)s
)
RETURNING id
