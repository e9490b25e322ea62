-- The replica sets that certified headers named, from which on they certify. The first one is the trusted one.
CREATE TABLE followed_sets (
    chain_id    text   NOT NULL,
    epoch       bigint NOT NULL CHECK (epoch >= 1),
    replica_set bytea  NOT NULL,
    PRIMARY KEY (chain_id, epoch)
);
