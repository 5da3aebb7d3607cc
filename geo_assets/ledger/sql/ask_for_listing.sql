-- What events told of, and was too much for a look: a listing that begins after it sees it.
UPDATE ledger.source SET listing_asked_at = greatest(listing_asked_at, %(looked_at)s) WHERE source = ANY(%(sources)s)
