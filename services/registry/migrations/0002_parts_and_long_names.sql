-- Names may be as long as a transaction allows, and an index entry may not: what must be unique is unique
-- by its digest. The digest is the database's own and leaves it nowhere.
CREATE FUNCTION text_digest(value text) RETURNS bytea IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
    AS $$ SELECT sha256(convert_to(value, 'UTF8')) $$;
CREATE FUNCTION position_digest(account text, product_code text, nature text) RETURNS bytea
    IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
    AS $$ SELECT sha256(sha256(convert_to(account, 'UTF8')) || sha256(convert_to(product_code, 'UTF8'))
                        || sha256(convert_to(nature, 'UTF8'))) $$;

ALTER TABLE positions DROP CONSTRAINT positions_pkey;
DROP INDEX positions_current;
DROP INDEX positions_by_product;
CREATE UNIQUE INDEX positions_by_height
    ON positions (position_digest(account, product_code, nature), from_height);
CREATE UNIQUE INDEX positions_current
    ON positions (position_digest(account, product_code, nature)) WHERE to_height IS NULL;
CREATE INDEX positions_by_account ON positions (account COLLATE "C");   -- a code, which is short
CREATE INDEX positions_by_product ON positions USING hash (product_code);

ALTER TABLE investor_bodies DROP CONSTRAINT investor_bodies_pkey;
CREATE UNIQUE INDEX investor_bodies_by_reference ON investor_bodies (text_digest(investor_ref));

-- A data object in parts goes in packets of consecutive sequences; it is anchored when all of them are.
ALTER TABLE operations
    ADD COLUMN packet_count     int NOT NULL DEFAULT 1,
    ADD COLUMN packets_anchored int NOT NULL DEFAULT 0;
UPDATE operations SET packets_anchored = 1 WHERE anchored_height IS NOT NULL;
