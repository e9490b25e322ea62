-- Where on the bus the last published block lies: that it lies there still tells that the feed is whole. NULL: not known.
ALTER TABLE published_blocks ADD COLUMN position bigint;
