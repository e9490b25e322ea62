-- How far the domain's publisher has come. Only the elected publisher writes it.
CREATE TABLE published_blocks (
    chain_id text   PRIMARY KEY,
    height   bigint NOT NULL CHECK (height >= 1)
);
