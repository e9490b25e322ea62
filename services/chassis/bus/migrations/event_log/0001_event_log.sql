-- The event log of one domain: the embedded bus. Positions count from 0 in each partition, without
-- gaps, and are handed out in commit order, because a writer holds the partition's row until then.

CREATE TABLE bus_topics (
    name              text    PRIMARY KEY,
    partitions        integer NOT NULL CHECK (partitions > 0),
    retention_seconds bigint  CHECK (retention_seconds > 0)
);

CREATE SEQUENCE bus_generations;

CREATE TABLE bus_partitions (
    topic      text    NOT NULL REFERENCES bus_topics (name) ON DELETE CASCADE,
    partition  integer NOT NULL,
    head       bigint  NOT NULL DEFAULT 0,  -- the next position
    generation bigint  NOT NULL DEFAULT nextval('bus_generations'),
    PRIMARY KEY (topic, partition)
);

CREATE TABLE bus_events (
    topic        text        NOT NULL,
    partition    integer     NOT NULL,
    position     bigint      NOT NULL,
    key          text        NOT NULL,
    payload      bytea       NOT NULL,
    headers      jsonb       NOT NULL,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, position),
    FOREIGN KEY (topic, partition) REFERENCES bus_partitions (topic, partition) ON DELETE CASCADE
);
