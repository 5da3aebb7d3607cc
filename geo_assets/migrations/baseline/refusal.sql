-- What a source makes is not written through the API, whatever statement the API's login sends.
-- session_user, which only a superuser can change: SET ROLE and set_config do not reach it. The function runs as the
-- owner of the ledger, of which the login may read little.
CREATE FUNCTION ledger.refuse_sources() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    touched text[];
BEGIN
    IF TG_TABLE_NAME = 'collections' THEN
        touched := ARRAY[CASE WHEN TG_OP <> 'INSERT' THEN OLD.id END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.id END];
    ELSE
        touched := ARRAY[
            CASE WHEN TG_OP <> 'INSERT' THEN OLD.collection END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.collection END
        ];
    END IF;
    IF EXISTS (SELECT FROM ledger.source WHERE collection_id = ANY(touched))
        OR EXISTS (SELECT FROM ledger.item WHERE collection_id = ANY(touched)) THEN
        RAISE EXCEPTION 'the collection is of a source' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER a_refuse_sources BEFORE INSERT OR UPDATE OR DELETE ON pgstac.items FOR EACH ROW
WHEN (session_user = 'geo_assets_transactions') EXECUTE FUNCTION ledger.refuse_sources();
CREATE TRIGGER a_refuse_sources BEFORE INSERT OR UPDATE OR DELETE ON pgstac.collections FOR EACH ROW
WHEN (session_user = 'geo_assets_transactions') EXECUTE FUNCTION ledger.refuse_sources();
