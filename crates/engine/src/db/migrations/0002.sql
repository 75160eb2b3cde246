-- From format 1 to format 2. Fresh databases take this step too, so that there is one way to today's tables.

-- Conversations that this device can't follow: the next round of requests to be added again, and when it is due.
CREATE TABLE rejoins (conversation BLOB PRIMARY KEY, round INTEGER NOT NULL, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Content.
-- What a message is beside its text (JSON of `db::messages::More`); when it was last edited, by the relay's clock, 0 if never; who took it back for
-- everyone; whether the own account has taken it out of sight.
ALTER TABLE messages ADD COLUMN extra TEXT NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN edited INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN deleted_by TEXT NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;
-- What was done to messages: edits, deletions, reactions, votes, pins. What a message looks like is computed from its acts in log order
-- (`sync::bodies::fold`), so that every device gets the same whatever order they came in. `part` tells several reactions of one content apart, `power`
-- is 1 if the sender might moderate at that place, an orphan's target is not known here.
CREATE TABLE acts (
  n            INTEGER PRIMARY KEY,
  conversation BLOB NOT NULL,
  id           BLOB NOT NULL,
  part         INTEGER NOT NULL,
  target       BLOB NOT NULL,
  kind         INTEGER NOT NULL,
  sender       TEXT NOT NULL,
  own          INTEGER NOT NULL,
  power        INTEGER NOT NULL,
  sent         INTEGER NOT NULL,
  time         INTEGER NOT NULL,
  seq          INTEGER NOT NULL,
  value        TEXT NOT NULL,
  content      BLOB NOT NULL,
  evidence     BLOB NOT NULL,
  orphan       INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX acts_by_id ON acts (conversation, id, part);
CREATE INDEX acts_by_target ON acts (conversation, target, kind, sender);
CREATE INDEX acts_pins ON acts (conversation) WHERE kind IN (6, 7);
CREATE INDEX acts_orphans ON acts (conversation) WHERE orphan = 1;
-- What is taken back leaves the search index too, not only what the index points to.
INSERT INTO messages_text (messages_text, rank) VALUES ('secure-delete', 1);
-- Messages that the own account has taken out of sight, also ones that have not arrived yet.
CREATE TABLE hidden (conversation BLOB NOT NULL, message BLOB NOT NULL, PRIMARY KEY (conversation, message)) STRICT, WITHOUT ROWID;

-- Search. The index takes messages in together: those up to `n` are in it, those behind are not (`db::messages::index`). A number below it that is
-- given again, after the last messages were deleted, is taken in at once.
CREATE TABLE messages_indexed (n INTEGER NOT NULL) STRICT;
INSERT INTO messages_indexed SELECT coalesce(max(n), 0) FROM messages;
DROP TRIGGER messages_text_insert;
DROP TRIGGER messages_text_delete;
DROP TRIGGER messages_text_update;
CREATE TRIGGER messages_text_insert AFTER INSERT ON messages WHEN new.n <= (SELECT n FROM messages_indexed) BEGIN
  INSERT INTO messages_text (rowid, text) VALUES (new.n, new.text);
END;
CREATE TRIGGER messages_text_delete AFTER DELETE ON messages WHEN old.n <= (SELECT n FROM messages_indexed) BEGIN
  INSERT INTO messages_text (messages_text, rowid, text) VALUES ('delete', old.n, old.text);
END;
CREATE TRIGGER messages_text_update AFTER UPDATE OF text ON messages WHEN old.n <= (SELECT n FROM messages_indexed) BEGIN
  INSERT INTO messages_text (messages_text, rowid, text) VALUES ('delete', old.n, old.text);
  INSERT INTO messages_text (rowid, text) VALUES (new.n, new.text);
END;

-- State in step.
-- How the own account keeps a conversation; absent where nothing was chosen. Times in ms, 0 for never.
CREATE TABLE arrangements (
  conversation BLOB PRIMARY KEY, muted_until INTEGER NOT NULL, archived INTEGER NOT NULL, pinned INTEGER NOT NULL, unread INTEGER NOT NULL,
  draft TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Groups.

-- Succession and healing.

-- The incarnation that each relay had when this device last spoke to it: another one means that it was restored from a backup.
CREATE TABLE relays (relay TEXT PRIMARY KEY, incarnation BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Entries that counted, as they came, of the last epochs: what a restored relay has lost is given back from here. `seed` opens the epoch that a
-- commit ends, `head` is the hash head before the entry. From 2^40 on `seq` is a place that the entry had before its relay was restored.
CREATE TABLE held (
  conversation BLOB NOT NULL, seq INTEGER NOT NULL, time INTEGER NOT NULL, epoch INTEGER NOT NULL, kind INTEGER NOT NULL, entry BLOB NOT NULL,
  body BLOB NOT NULL, commitment BLOB NOT NULL, next BLOB, seed BLOB, head BLOB NOT NULL, PRIMARY KEY (conversation, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX held_by_entry ON held (conversation, entry);

-- How conversations stand to their relay's restores. `joined`: the place behind which this device has read everything. `since`: what stands behind
-- it may have moved. `whole`: where the log ended when everything was in place again. `unsettled`: no entry has shown yet that its author was behind the restore too.
CREATE TABLE heals (
  conversation BLOB PRIMARY KEY, joined INTEGER NOT NULL, open INTEGER NOT NULL DEFAULT 0, since INTEGER NOT NULL DEFAULT 0,
  unsettled INTEGER NOT NULL DEFAULT 0, moved INTEGER NOT NULL DEFAULT 0, begun INTEGER NOT NULL DEFAULT 0, whole INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Versions of the own record, for a relay that has lost some.
CREATE TABLE own_records (version INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;

-- Devices, history, backup.
-- When what is known of an account's identity last changed, by this device's clock; 0 if that was not noted.
ALTER TABLE contacts ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
-- The devices of each conversation (`db::leaves::Leaf`), and what the person saw when they last looked at them.
CREATE TABLE leaves (
  conversation BLOB NOT NULL, leaf INTEGER NOT NULL, address TEXT NOT NULL, device BLOB NOT NULL, key BLOB NOT NULL, since INTEGER NOT NULL,
  renewed INTEGER NOT NULL, PRIMARY KEY (conversation, leaf)
) STRICT, WITHOUT ROWID;
ALTER TABLE conversations ADD COLUMN suite INTEGER NOT NULL DEFAULT 0;
CREATE TABLE looked (conversation BLOB PRIMARY KEY, time INTEGER NOT NULL, people TEXT NOT NULL) STRICT, WITHOUT ROWID;
