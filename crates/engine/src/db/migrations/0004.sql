-- From format 3 to format 4: fewer pages to encrypt and write for each message; who is asleep; pictures of groups; what was asked for of history.

-- What has a place in its log, in order; and what has none, without what waits to be sent (the outbox has that).
DROP INDEX messages_by_place;
DROP INDEX messages_by_age;
CREATE INDEX messages_by_place ON messages (conversation, seq) WHERE seq > 0;
CREATE INDEX messages_without_place ON messages (conversation) WHERE seq = 0 AND status != 0;

-- The outbox finds the rows of a conversation by their numbers (`db::outbox::numbers`): 31 bits of the conversation's id, then the order in
-- it. The last number of a conversation is kept, by a row of no conversation, so that none is used again.
ALTER TABLE outbox RENAME TO outbox_before;
DROP INDEX outbox_by_conversation;
DROP INDEX outbox_by_entry;
CREATE TABLE outbox (
  n            INTEGER PRIMARY KEY,
  conversation BLOB NOT NULL,
  message      BLOB,
  content      BLOB NOT NULL,
  sent         INTEGER NOT NULL,
  leaving      INTEGER NOT NULL DEFAULT 0,
  epoch        INTEGER NOT NULL DEFAULT 0,
  entry        BLOB,
  body         BLOB,
  commitment   BLOB
) STRICT;
INSERT INTO outbox SELECT (((((instr('0123456789ABCDEF', substr(hex(conversation), 1, 1)) - 1) & 7) << 28)
    + ((instr('0123456789ABCDEF', substr(hex(conversation), 2, 1)) - 1) << 24)
    + ((instr('0123456789ABCDEF', substr(hex(conversation), 3, 1)) - 1) << 20)
    + ((instr('0123456789ABCDEF', substr(hex(conversation), 4, 1)) - 1) << 16)
    + ((instr('0123456789ABCDEF', substr(hex(conversation), 5, 1)) - 1) << 12)
    + ((instr('0123456789ABCDEF', substr(hex(conversation), 6, 1)) - 1) << 8)
    + ((instr('0123456789ABCDEF', substr(hex(conversation), 7, 1)) - 1) << 4)
    + ((instr('0123456789ABCDEF', substr(hex(conversation), 8, 1)) - 1) << 0)) << 32) + row_number() OVER (ORDER BY n),
  conversation, message, content, sent, leaving, epoch, entry, body, commitment FROM outbox_before;
DROP TABLE outbox_before;

-- What is held of each log, in a table whose rows may be long: in the one before, each entry had a page of its own.
ALTER TABLE held RENAME TO held_before;
DROP INDEX held_by_entry;
CREATE TABLE held (
  n INTEGER PRIMARY KEY, conversation BLOB NOT NULL, seq INTEGER NOT NULL, time INTEGER NOT NULL, epoch INTEGER NOT NULL, kind INTEGER NOT NULL,
  entry BLOB NOT NULL, body BLOB NOT NULL, commitment BLOB NOT NULL, next BLOB, seed BLOB, head BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX held_by_place ON held (conversation, seq);
CREATE UNIQUE INDEX held_by_entry ON held (conversation, entry);
INSERT INTO held (conversation, seq, time, epoch, kind, entry, body, commitment, next, seed, head)
  SELECT conversation, seq, time, epoch, kind, entry, body, commitment, next, seed, head FROM held_before ORDER BY conversation, seq;
DROP TABLE held_before;

-- When the sender of history was last asked where the next chunk is, in ms; 0: never.
ALTER TABLE history ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;

-- Accounts that are asleep, as the conversation's state lists them (protocol rule 10).
CREATE TABLE asleep (
  conversation BLOB NOT NULL, address TEXT NOT NULL, account_key BLOB NOT NULL, role INTEGER NOT NULL, PRIMARY KEY (conversation, address)
) STRICT, WITHOUT ROWID;
-- Where this device was taken out because it was not on for long, and has asked to be let in again: when that was by the log's time, in ms, 0 if
-- the relay no longer keeps it.
CREATE TABLE slept (conversation BLOB PRIMARY KEY, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Pictures of groups: what the state names (`current`), or what this device is about to put into it; `file` is empty until it was fetched, which
-- is tried again at `next`; `uploaded`: when this device last put it at the relay. Times in ms.
CREATE TABLE pictures (
  conversation BLOB NOT NULL, hash BLOB NOT NULL, secret BLOB NOT NULL, size INTEGER NOT NULL, kind INTEGER NOT NULL, file BLOB NOT NULL,
  current INTEGER NOT NULL, tries INTEGER NOT NULL, next INTEGER NOT NULL, uploaded INTEGER NOT NULL, PRIMARY KEY (conversation, hash)
) STRICT;

-- `first`: where a log ended when everything was in place again for the first time, behind restores of its relay that nobody has settled yet.
ALTER TABLE heals ADD COLUMN first INTEGER NOT NULL DEFAULT 0;
