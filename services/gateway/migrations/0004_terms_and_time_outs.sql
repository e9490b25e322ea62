-- Packets of format 2 have a class and a deadline, and can time out: state 4 (PacketState).
ALTER TABLE packets_sent
    ADD COLUMN packet_class     text,                       -- null: format 1, which has no terms
    ADD COLUMN deadline_height  bigint NOT NULL DEFAULT 0,  -- of the destination; 0: none
    ADD COLUMN deadline_time_ms bigint NOT NULL DEFAULT 0,  -- block time of the destination; 0: none
    ADD COLUMN expired          boolean NOT NULL DEFAULT false;
-- `expired`: the destination says so. It is not delivered again; its absence is proven.
CREATE INDEX packets_sent_overdue ON packets_sent (destination, port, sequence)
    WHERE state = 1 AND packet_class = 'unordered' AND (deadline_height > 0 OR deadline_time_ms > 0);
