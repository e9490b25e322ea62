-- What a destination refused is acknowledged like the rest: with which code stands beside it.
ALTER TABLE packets_sent ADD COLUMN refused_code text NOT NULL DEFAULT '';  -- '': taken, or not known yet
