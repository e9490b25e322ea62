-- The registry's read model: a function of the chain's receipts, so it can be dropped and rebuilt.
-- Only investor_bodies is not: it holds what may not be on chain, encrypted.

CREATE TABLE positions (
    account            text    NOT NULL,
    product_code       text    NOT NULL,
    nature             text    NOT NULL,
    from_height        bigint  NOT NULL,
    to_height          bigint,             -- first height at which the row no longer holds; null: it holds
    total              bigint  NOT NULL,
    available          bigint  NOT NULL,
    pledged            bigint  NOT NULL,
    frozen             bigint  NOT NULL,
    pledged_and_frozen bigint  NOT NULL,
    confirmed          boolean NOT NULL,
    restricted_until   date,
    PRIMARY KEY (account, product_code, nature, from_height),
    CHECK (total >= 0 AND available >= 0)
);
CREATE UNIQUE INDEX positions_current
    ON positions (account COLLATE "C", product_code COLLATE "C", nature COLLATE "C")
    WHERE to_height IS NULL;
CREATE INDEX positions_by_product ON positions (product_code, from_height);

CREATE TABLE operations (
    organisation     text    NOT NULL,
    request_id       text    NOT NULL,
    transaction_id   bytea   NOT NULL,
    contract         text    NOT NULL,
    method           text    NOT NULL,
    outcome          int     NOT NULL,
    code             text    NOT NULL,
    detail           bytea   NOT NULL,
    height           bigint  NOT NULL,
    position         int     NOT NULL,
    header_hash      bytea   NOT NULL,
    object_id        text    NOT NULL,
    packet_sequence  bigint,
    anchored_height  bigint,
    PRIMARY KEY (organisation, request_id)
);
CREATE UNIQUE INDEX operations_by_packet ON operations (packet_sequence) WHERE packet_sequence IS NOT NULL;

CREATE TABLE investor_bodies (
    investor_ref    text  PRIMARY KEY,
    investor_code   text  NOT NULL UNIQUE,
    identity_digest bytea NOT NULL,        -- keyed: HMAC-SM3, see domain/statements.py
    body_digest     bytea NOT NULL,        -- salted SM3 of the plain body, to recognise a repetition
    salt            bytea NOT NULL,
    nonce           bytea NOT NULL UNIQUE,
    sealed          bytea NOT NULL         -- SM4-GCM
);
