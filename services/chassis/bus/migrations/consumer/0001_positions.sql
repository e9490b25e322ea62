-- What a consumer group keeps beside its own rows, so that both change in one transaction.

CREATE TABLE bus_positions (
    group_name text    NOT NULL,
    topic      text    NOT NULL,
    partition  integer NOT NULL,
    position   bigint,            -- of the last handled event; NULL before the first
    event_id   text,              -- its name, by which a rebuilt topic is recognised
    PRIMARY KEY (group_name, topic, partition),
    CHECK ((position IS NULL) = (event_id IS NULL))
);

-- Every handled event, so that one that comes again has no second effect. As long as the topic:
-- a topic that is deleted and published again from its beginning repeats every event.
CREATE TABLE bus_handled (
    group_name text NOT NULL,
    topic      text NOT NULL,
    event_id   text NOT NULL,
    PRIMARY KEY (group_name, topic, event_id)
);

CREATE TABLE bus_parked (
    parked_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name text        NOT NULL,
    topic      text        NOT NULL,
    partition  integer     NOT NULL,
    position   bigint      NOT NULL,
    key        text        NOT NULL,
    payload    bytea       NOT NULL,
    headers    jsonb       NOT NULL,
    cause      text        NOT NULL,
    attempts   integer     NOT NULL,
    parked_at  timestamptz NOT NULL DEFAULT now()
);
