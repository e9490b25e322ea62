-- An anchor is judged before it is kept, and again before it is handed out: what an earlier version kept unjudged
-- is found false then. It stays until a true one takes its place, and is asked for after those that
-- have not been asked for yet, the longest ago first.
ALTER TABLE packets_sent ADD COLUMN anchor_refused_at timestamptz;
DROP INDEX packets_sent_without_anchor;
CREATE INDEX packets_sent_without_anchor
    ON packets_sent (destination, anchor_refused_at NULLS FIRST, port, sequence)
    WHERE state = 3 AND (anchor IS NULL OR anchor_refused_at IS NOT NULL);
