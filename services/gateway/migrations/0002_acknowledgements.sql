-- An acknowledgement submitted twice has one effect: the block's event alone says which transaction
-- had it. Traces are of use for the moments until a packet is delivered.
ALTER TABLE operation_traces ADD COLUMN noted_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX packets_sent_without_anchor ON packets_sent (destination, port, sequence)
    WHERE anchor IS NULL AND state = 3;
