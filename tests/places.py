"""Two tables of /features whose rows are known, made by SQL: loading files takes seconds.

Here: the tables. Not here: how files become some (`tests.integration.test_vector_tables`).
"""

# Nine places on a line from 0 E 0 N to 8 E 4 N, with names that try quoting and columns that try identifiers: one is
# called as a function of SQL's is. And six of 12 E to 17 E along 50 N, in the zone of UTM that the first is in.
TABLES = r"""
    CREATE SCHEMA vectors;
    CREATE TABLE vectors.places (
        gid bigint PRIMARY KEY, name text, height integer, share float8, "user" text, "a""b" text, flag boolean,
        seen timestamptz, made date, clock timestamp, tags text[], sizes integer[], geom geometry(Point, 4326)
    );
    INSERT INTO vectors.places SELECT
        9007199254740990 + n,
        (ARRAY['Alm', 'alm', 'Älm', 'b%c', 'b_c', 'it''s', E'back\\slash', '$1 {0}', NULL])[n + 1],
        n, n / 4.0, 'u' || n, 'q' || n, n % 2 = 0, '2020-01-01T12:00:00Z'::timestamptz + n * interval '1 day',
        '2020-01-01'::date + n, '2020-01-01T12:00:00'::timestamp + n * interval '1 day', ARRAY['t' || n, 'all'],
        ARRAY[n, 100], ST_SetSRID(ST_MakePoint(n, n / 2.0), 4326)
    FROM generate_series(0, 8) AS n;
    CREATE TABLE vectors.grid (height integer, geom geometry(Point, 32633));
    INSERT INTO vectors.grid SELECT n, ST_Transform(ST_SetSRID(ST_MakePoint(12 + n, 50), 4326), 32633)
    FROM generate_series(0, 5) AS n;
    GRANT USAGE ON SCHEMA vectors TO PUBLIC;
    GRANT SELECT ON ALL TABLES IN SCHEMA vectors TO PUBLIC;
    INSERT INTO ledger.source (source, url, collection_id, rule_digest, reading_digest)
    VALUES ('vectors', 'file:vectors', 'vectors', '', '');
    INSERT INTO ledger.vector_table (
        source, name, layer, table_schema, table_name, mode, etag, rows, geometry_column, geometry_types, srid, columns,
        driver, source_crs, repaired, split, linearised, rejected, dropped, duplicates, seconds
    )
    SELECT 'vectors', name, name, 'vectors', name, 'replace', '', 9, 'geom', '{Point}', srid, '[]',
        'GPKG', '', 0, 0, 0, '[]', '[]', 0, 0
    FROM (VALUES ('places', 4326), ('grid', 32633)) AS t (name, srid);
"""
