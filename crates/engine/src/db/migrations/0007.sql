-- From format 6 to format 7: only what a restored relay has not shown again is looked for by its id, so only that is in an index. With all
-- of it in one, each message that comes cost a page of its own.
DROP INDEX held_by_entry;
CREATE UNIQUE INDEX held_missing ON held (conversation, entry) WHERE seq >= 1099511627776;
