-- What the gateway works on. Truth is on the chains: these rows can be rebuilt from the blocks.

CREATE TABLE packets_sent (
    destination     text   NOT NULL,
    port            text   NOT NULL,
    sequence        bigint NOT NULL,
    payload         bytea  NOT NULL,         -- canonical JSON, as committed
    transaction_id  bytea  NOT NULL,         -- on the own chain
    height          bigint NOT NULL,
    state           int    NOT NULL,         -- 1 sent, 2 received, 3 acknowledged (PacketState)
    remote_transaction_id bytea,             -- on the destination
    anchor          bytea,                   -- Anchor message: proves the record there for ever
    acknowledgement_transaction_id bytea,    -- on the own chain
    parked_cause    text,                    -- set when it cannot be delivered
    PRIMARY KEY (destination, port, sequence)
);
CREATE INDEX packets_sent_by_transaction ON packets_sent (transaction_id);
CREATE INDEX packets_sent_open ON packets_sent (destination, state, sequence) WHERE state < 3;

CREATE TABLE packets_received (
    source         text   NOT NULL,
    port           text   NOT NULL,
    sequence       bigint NOT NULL,
    transaction_id bytea  NOT NULL,
    height         bigint NOT NULL,
    PRIMARY KEY (source, port, sequence)
);

CREATE TABLE operation_traces (
    transaction_id bytea PRIMARY KEY,
    traceparent    text  NOT NULL
);
