-- How far this database follows a chain. The hash links the next block to the last one applied.
CREATE TABLE projected_blocks (
    chain_id    text   PRIMARY KEY,
    height      bigint NOT NULL CHECK (height >= 1),
    header_hash bytea  NOT NULL CHECK (octet_length(header_hash) = 32)
);
