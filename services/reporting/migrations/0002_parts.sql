-- An object in parts is whole, and anchored, when every part of it is on the regulatory chain.
ALTER TABLE data_objects
    ADD COLUMN whole_id   text NOT NULL DEFAULT '',     -- the id of its first part; its own where it is whole
    ADD COLUMN part_count int NOT NULL DEFAULT 1,
    ADD COLUMN is_there   boolean NOT NULL DEFAULT false,
    ALTER COLUMN anchored SET DEFAULT false;
UPDATE data_objects SET whole_id = object_id, is_there = anchored;
CREATE INDEX data_objects_by_whole ON data_objects (whole_id, version);
