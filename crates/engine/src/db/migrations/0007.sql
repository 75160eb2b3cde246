-- From format 6 to format 7: only what a restored relay has not shown again is looked for by its id, so only that is in an index. With all
-- of it in one, each message that comes cost a page of its own.
DROP INDEX held_by_entry;
CREATE UNIQUE INDEX held_missing ON held (conversation, entry) WHERE seq >= 1099511627776;

-- Invitations that a relay has taken, and trees that they speak of, when (in ms, by this device's clock) and in which incarnation: what a relay
-- has lost since is left there again (protocol rule 12). 0: it has not taken it yet.
ALTER TABLE deposits ADD COLUMN given INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deposits ADD COLUMN given_in BLOB NOT NULL DEFAULT x'';
CREATE INDEX deposits_given ON deposits (given) WHERE given > 0;
CREATE INDEX deposits_given_in ON deposits (relay, given_in) WHERE given > 0;
CREATE INDEX deposits_by_blob ON deposits (blob) WHERE blob IS NOT NULL;
ALTER TABLE uploads ADD COLUMN given INTEGER NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN given_in BLOB NOT NULL DEFAULT x'';
