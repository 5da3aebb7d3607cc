-- An item says whose it is, also one that waits for the end of its blob's grace and is never made again.
UPDATE pgstac.items AS i
SET content = jsonb_set(i.content, '{properties,geo_assets:source}', to_jsonb(%(source)s::text))
FROM ledger.item AS c
JOIN handed_over AS h USING (name)
WHERE c.source = %(source)s AND i.collection = c.collection_id AND i.id = c.item_id
