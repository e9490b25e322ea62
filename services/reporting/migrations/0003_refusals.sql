-- What the regulatory chain did not take, under the packet that carried it; rebuilt from blocks as data_objects is.
CREATE TABLE refusals (
    source_chain    text   NOT NULL,
    packet_sequence bigint NOT NULL,
    object_id       text   NOT NULL,   -- empty where the object could not be read
    version         int,
    code            text   NOT NULL,
    detail          bytea  NOT NULL,   -- canonical JSON: the facts of the refusal
    state           text   NOT NULL,
    resubmits       bigint,            -- the packet that was refused first, of one that was sent again
    resubmitted_as  bigint,            -- the packet that it was sent in last
    recorded_height bigint NOT NULL,
    place           bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (source_chain, packet_sequence)
);
CREATE UNIQUE INDEX refusals_by_place ON refusals (place);
