-- Where a sender is held, its packets are left out without being read: whose message a packet is stands in a column.
ALTER TABLE packets_sent ADD COLUMN sender text NOT NULL DEFAULT '';  -- another chain's message; '': the own chain's
UPDATE packets_sent
SET sender = coalesce(substring(convert_from(payload, 'UTF8')
                                FROM '^\{"from":\{"chain":"([A-Za-z0-9._-]{1,64})"[,}]'), '')
WHERE port = 'market_delivery';
CREATE INDEX packets_sent_open_by_sender ON packets_sent (destination, state, port, sender, sequence)
    WHERE state < 3 AND NOT expired AND parked_cause IS NULL AND NOT in_order;
