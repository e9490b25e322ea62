-- What a recount of the register needs beside positions: how many holders an account counts as, and which products
-- there are. A read model that followed the chain before lacks them until `rebuild-projection --replace` built it anew.
CREATE TABLE accounts (
    account         text   NOT NULL,
    counted_holders bigint NOT NULL
);
CREATE UNIQUE INDEX accounts_by_code ON accounts (text_digest(account));
CREATE TABLE products (
    product_code text NOT NULL
);
CREATE UNIQUE INDEX products_by_code ON products (text_digest(product_code));

-- What blocks changed is recounted.
CREATE INDEX positions_by_beginning ON positions (from_height);
CREATE INDEX positions_by_end ON positions (to_height) WHERE to_height IS NOT NULL;
CREATE INDEX encumbrances_by_beginning ON encumbrances (from_height);
CREATE INDEX encumbrances_by_end ON encumbrances (to_height) WHERE to_height IS NOT NULL;
