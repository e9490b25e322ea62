-- Packets of format 2 have a class and a deadline, and can time out: state 4 (PacketState).
ALTER TABLE packets_sent
    ADD COLUMN packet_class     text,                       -- null: format 1, which has no terms
    ADD COLUMN deadline_height  bigint NOT NULL DEFAULT 0,  -- of the destination; 0: none
    ADD COLUMN deadline_time_ms bigint NOT NULL DEFAULT 0,  -- block time of the destination; 0: none
    ADD COLUMN expired          boolean NOT NULL DEFAULT false,
    ADD COLUMN contradicted     boolean NOT NULL DEFAULT false,
    ADD COLUMN in_order         boolean NOT NULL
        GENERATED ALWAYS AS (packet_class IS DISTINCT FROM 'unordered') STORED;
-- `expired`: the destination says so, and proves nothing by that. It is not delivered until a header of the destination
-- shows whether it is true. `contradicted`: the own chain has two proofs about it that exclude each other.
CREATE INDEX packets_sent_overdue ON packets_sent (destination, deadline_time_ms)
    WHERE state < 3 AND packet_class = 'unordered' AND (deadline_height > 0 OR deadline_time_ms > 0);

-- What a relay looks for several times a second costs what it finds, however long the history is: the open packets of
-- one port in their order, the ports that have any, and where a port is stopped.
DROP INDEX packets_sent_open;
CREATE INDEX packets_sent_open ON packets_sent (destination, state, port, in_order, sequence)
    WHERE state < 3 AND NOT expired AND parked_cause IS NULL;
CREATE INDEX packets_sent_parked ON packets_sent (destination, port, sequence)
    WHERE parked_cause IS NOT NULL;
