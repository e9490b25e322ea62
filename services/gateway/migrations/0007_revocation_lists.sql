-- The newest revocation list of each authority on the own chain: somebody has to publish the next one before it ends.
CREATE TABLE revocation_lists (
    authority      text PRIMARY KEY,  -- fingerprint, hex
    number         text NOT NULL,
    this_update_ms bigint NOT NULL,
    next_update_ms bigint NOT NULL,
    height         bigint NOT NULL
);
