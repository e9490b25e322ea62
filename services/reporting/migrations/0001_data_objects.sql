-- Data objects as the chain beside this service shows them; rebuilt from its blocks.
CREATE TABLE data_objects (
    object_id               text   NOT NULL,
    version                 int    NOT NULL,
    content_type            text   NOT NULL,
    object                  bytea  NOT NULL,   -- canonical JSON
    digest                  bytea  NOT NULL,
    source_chain            text   NOT NULL,
    source_height           bigint NOT NULL,
    source_transaction_id   bytea  NOT NULL,
    packet_sequence         bigint NOT NULL,
    recorded_chain          text   NOT NULL,
    recorded_height         bigint NOT NULL,
    recorded_transaction_id bytea  NOT NULL,
    anchored                boolean NOT NULL,
    place                   bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (object_id, version)
);
CREATE UNIQUE INDEX data_objects_by_place ON data_objects (place);
CREATE INDEX data_objects_by_packet ON data_objects (source_chain, packet_sequence);
