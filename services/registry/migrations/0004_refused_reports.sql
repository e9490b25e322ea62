-- With which code the regulatory chain refused the data object of an operation; empty where it did not, or took it since.
ALTER TABLE operations ADD COLUMN report_code text NOT NULL DEFAULT '';
-- Under which sequence an object was refused first that was sent again.
CREATE TABLE resubmissions (
    packet_sequence bigint PRIMARY KEY,
    first_sequence  bigint NOT NULL
);
