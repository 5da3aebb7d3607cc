SELECT c.id, c.content ->> 'title' AS title, (SELECT count(*) FROM pgstac.items AS i WHERE i.collection = c.id) AS items
FROM pgstac.collections AS c
ORDER BY c.id
