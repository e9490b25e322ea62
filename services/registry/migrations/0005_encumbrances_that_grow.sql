-- A corporate action lets an encumbrance grow past the shares first asked for.
ALTER TABLE encumbrances DROP CONSTRAINT encumbrances_check;
ALTER TABLE encumbrances ADD CONSTRAINT encumbrances_counts CHECK (effective >= 0 AND waiting >= 0);
