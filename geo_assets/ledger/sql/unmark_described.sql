-- To be read anew; the item stays until the new one takes its place.
UPDATE ledger.blob SET described_etag = NULL WHERE source = %(source)s AND name = ANY(%(names)s)
