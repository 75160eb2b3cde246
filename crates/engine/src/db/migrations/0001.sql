-- The client's database, format 1; later formats are in the files beside this one. Tables are STRICT, columns are NOT NULL unless absence means
-- something, and never change meaning.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Accounts that this device has seen. `account_key` is pinned at first use; `other_key` is what contradicts it.
CREATE TABLE contacts (
  address      TEXT PRIMARY KEY,
  account_key  BLOB NOT NULL,
  record       BLOB,
  version      INTEGER NOT NULL DEFAULT 0,
  confirmation INTEGER NOT NULL,
  other_key    BLOB,
  known        INTEGER NOT NULL DEFAULT 0,
  blocked      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE conversations (
  id           BLOB PRIMARY KEY,
  relay        TEXT NOT NULL,
  kind         INTEGER NOT NULL,
  name         TEXT NOT NULL,
  peer         TEXT,
  standing     INTEGER NOT NULL,
  held         TEXT NOT NULL DEFAULT '',
  inviter      TEXT NOT NULL DEFAULT '',
  log_made     INTEGER NOT NULL,
  epoch        INTEGER NOT NULL,
  cursor       INTEGER NOT NULL,
  chain        BLOB NOT NULL,
  chain_known  INTEGER NOT NULL,
  created      INTEGER NOT NULL,
  touched      INTEGER NOT NULL,
  read_seq     INTEGER NOT NULL DEFAULT 0,
  updated      INTEGER NOT NULL,
  own_messages INTEGER NOT NULL DEFAULT 0,
  last_receipt INTEGER NOT NULL DEFAULT 0,
  voids        INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The accounts of a conversation, derived from the group's leaves after each epoch change, for views.
CREATE TABLE members (
  conversation BLOB NOT NULL,
  address      TEXT NOT NULL,
  account_key  BLOB NOT NULL,
  role         INTEGER NOT NULL,
  devices      INTEGER NOT NULL,
  PRIMARY KEY (conversation, address)
) STRICT, WITHOUT ROWID;

-- Ids of entries that counted: the first of an id in its log does (protocol rule 3).
CREATE TABLE seen (conversation BLOB NOT NULL, entry BLOB NOT NULL, PRIMARY KEY (conversation, entry)) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
  n            INTEGER PRIMARY KEY,
  id           BLOB NOT NULL,
  conversation BLOB NOT NULL,
  sender       TEXT NOT NULL,
  own          INTEGER NOT NULL,
  sent         INTEGER NOT NULL,
  time         INTEGER NOT NULL,
  seq          INTEGER NOT NULL,
  status       INTEGER NOT NULL,
  kind         INTEGER NOT NULL,
  text         TEXT NOT NULL,
  reply_to     BLOB,
  content      BLOB NOT NULL,
  evidence     BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX messages_by_id ON messages (conversation, id);
CREATE INDEX messages_by_place ON messages (conversation, seq);
-- The newest first: what is on its way (seq 0) sorts behind all that has a place.
CREATE INDEX messages_by_age ON messages (conversation, (CASE seq WHEN 0 THEN 9223372036854775807 ELSE seq END), n);
CREATE INDEX messages_unread ON messages (conversation) WHERE status = 5;

CREATE VIRTUAL TABLE messages_text USING fts5 (text, content = 'messages', content_rowid = 'n', tokenize = 'unicode61 remove_diacritics 2');
CREATE TRIGGER messages_text_insert AFTER INSERT ON messages BEGIN
  INSERT INTO messages_text (rowid, text) VALUES (new.n, new.text);
END;
CREATE TRIGGER messages_text_delete AFTER DELETE ON messages BEGIN
  INSERT INTO messages_text (messages_text, rowid, text) VALUES ('delete', old.n, old.text);
END;
CREATE TRIGGER messages_text_update AFTER UPDATE OF text ON messages BEGIN
  INSERT INTO messages_text (messages_text, rowid, text) VALUES ('delete', old.n, old.text);
  INSERT INTO messages_text (rowid, text) VALUES (new.n, new.text);
END;

-- Up to where each account has got with own messages: level 1 delivered, 2 read.
CREATE TABLE receipts (
  conversation BLOB NOT NULL, seq INTEGER NOT NULL, address TEXT NOT NULL, level INTEGER NOT NULL,
  PRIMARY KEY (conversation, seq, address)
) STRICT, WITHOUT ROWID;
-- What is still to be reported to others.
CREATE TABLE receipts_due (
  conversation BLOB NOT NULL, seq INTEGER NOT NULL, level INTEGER NOT NULL, PRIMARY KEY (conversation, level, seq)
) STRICT, WITHOUT ROWID;

-- What is to be sent, in order. `entry` and `body` are there once it is encrypted for `epoch`; a row goes when its entry is read back.
CREATE TABLE outbox (
  n            INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: connections remember how far they have sent
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
CREATE INDEX outbox_by_conversation ON outbox (conversation, n);
CREATE INDEX outbox_by_entry ON outbox (conversation, entry);

-- What a person wants of a group, until it is in the log or no longer applies.
CREATE TABLE intents (n INTEGER PRIMARY KEY AUTOINCREMENT, conversation BLOB NOT NULL, intent BLOB NOT NULL, not_before INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX intents_by_conversation ON intents (conversation, n);

-- The commit that is on its way, at most one for a conversation; MLS holds the state that it would make.
CREATE TABLE pending_commits (
  conversation BLOB PRIMARY KEY, intent INTEGER NOT NULL, epoch INTEGER NOT NULL, entry BLOB NOT NULL, next BLOB NOT NULL,
  body BLOB NOT NULL, welcomes BLOB NOT NULL, tree BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE uploads (blob BLOB PRIMARY KEY, relay TEXT NOT NULL, secret BLOB NOT NULL, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE deposits (
  n INTEGER PRIMARY KEY AUTOINCREMENT, conversation BLOB NOT NULL, relay TEXT NOT NULL, inbox BLOB NOT NULL, entry BLOB NOT NULL, body BLOB NOT NULL,
  blob BLOB, not_before INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Invitations whose tree has not been fetched, or that wait for the person.
CREATE TABLE invitations (
  conversation BLOB PRIMARY KEY, sender TEXT NOT NULL, relay TEXT NOT NULL, invitation BLOB NOT NULL, time INTEGER NOT NULL,
  accepted INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE key_packages (
  reference BLOB PRIMARY KEY, offered BLOB NOT NULL, last_resort INTEGER NOT NULL, uploaded INTEGER NOT NULL, created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The last hash heads of each log, in a ring: slot is seq modulo its length, head is seq and hash.
CREATE TABLE heads (conversation BLOB NOT NULL, slot INTEGER NOT NULL, head BLOB NOT NULL, PRIMARY KEY (conversation, slot)) STRICT, WITHOUT ROWID;
-- Heads of other members that differ from ours: evidence that a relay showed different histories.
CREATE TABLE forks (conversation BLOB NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL, address TEXT NOT NULL, time INTEGER NOT NULL) STRICT;
