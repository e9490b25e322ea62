-- Events that a service has decided to announce and has not yet handed to the bus.

CREATE TABLE outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic    text  NOT NULL,
    key      text  NOT NULL,
    payload  bytea NOT NULL,
    headers  jsonb NOT NULL
);
