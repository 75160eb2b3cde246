-- From format 2 to format 3. Each concern has its section.

-- Disappearing messages.
-- How long a message stays once it was seen (by its writer: once it was sent), in ms, 0 for good; when it goes, 0 while that is not known.
ALTER TABLE messages ADD COLUMN ttl INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN expires INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_expiring ON messages (expires) WHERE expires > 0;
-- The timer in each conversation's state, in seconds, 0 for none.
ALTER TABLE conversations ADD COLUMN timer INTEGER NOT NULL DEFAULT 0;

-- People.
-- What the own account calls somebody.
ALTER TABLE contacts ADD COLUMN name TEXT NOT NULL DEFAULT '';

-- Groups.
-- What the group is for, from the conversation's state.
ALTER TABLE conversations ADD COLUMN description TEXT NOT NULL DEFAULT '';
-- The invite links in the conversation's state: by which account, whether who comes by it is let in at once, until when (0 for good), how
-- often it is good (0 for any number) and how often it was used; n is its place.
CREATE TABLE invite_links (
  conversation BLOB NOT NULL, n INTEGER NOT NULL, link BLOB NOT NULL, maker BLOB NOT NULL, direct INTEGER NOT NULL, expires INTEGER NOT NULL,
  uses INTEGER NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (conversation, n)
) STRICT, WITHOUT ROWID;
-- What only the device that has made a link knows of it.
CREATE TABLE invite_secrets (conversation BLOB NOT NULL, link BLOB NOT NULL, secret BLOB NOT NULL, PRIMARY KEY (conversation, link)) STRICT, WITHOUT ROWID;
-- Who asks to come in by a link.
CREATE TABLE join_requests (
  conversation BLOB NOT NULL, address TEXT NOT NULL, account_key BLOB NOT NULL, link BLOB NOT NULL, time INTEGER NOT NULL,
  PRIMARY KEY (conversation, address)
) STRICT, WITHOUT ROWID;
-- Where this account has asked to come in; asked is 0 until the request is in the outbox.
CREATE TABLE joins (
  conversation BLOB PRIMARY KEY, relay TEXT NOT NULL, inviter TEXT NOT NULL, link BLOB NOT NULL, asked INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Devices, history, backup.
-- History on its way to or from another own device, chunk by chunk. `id` is made of the secret, from which names and keys of all chunks come; `next`
-- is the chunk that comes next; `place` is how far the sender has walked through its tables (JSON of `db::archive::Place`), empty for the receiver;
-- `offered`: the other device was told; `state`: 0 under way, 1 complete, 2 given up. Times in ms.
CREATE TABLE history (
  id BLOB PRIMARY KEY, sending INTEGER NOT NULL, device BLOB NOT NULL, relay TEXT NOT NULL, secret BLOB NOT NULL, next INTEGER NOT NULL,
  place TEXT NOT NULL, offered INTEGER NOT NULL, messages INTEGER NOT NULL, total INTEGER NOT NULL, begun INTEGER NOT NULL, moved INTEGER NOT NULL,
  state INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- State in step (protocol rule 17).
-- What the person has chosen on any own device, by kind and by what it is about: the last word counts. `time` orders words; `word` is the
-- choice (CBOR of `own_state::Change`); `untold`: the other own devices are still to hear of it.
CREATE TABLE own_state (
  kind INTEGER NOT NULL, about BLOB NOT NULL, time INTEGER NOT NULL, word BLOB NOT NULL, untold INTEGER NOT NULL, PRIMARY KEY (kind, about)
) STRICT, WITHOUT ROWID;
CREATE INDEX own_state_untold ON own_state (time) WHERE untold = 1;
-- Conversations that this device has from a backup and is not in yet, and when that was made, in ms.
CREATE TABLE restored (conversation BLOB PRIMARY KEY, made INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Messages that are sent later, by this device alone. `conversation` is absent where only then one is begun with `address`; `preview` (JSON of
-- `api::Preview`) and `problem` (JSON of `api::Problem`: why it could not be sent) may be empty; times and `stays` in ms.
CREATE TABLE scheduled (
  n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, conversation BLOB, address TEXT NOT NULL, at INTEGER NOT NULL, text TEXT NOT NULL, reply_to BLOB,
  preview TEXT NOT NULL, stays INTEGER NOT NULL, view_once INTEGER NOT NULL, problem TEXT NOT NULL
) STRICT;
CREATE INDEX scheduled_waiting ON scheduled (at, n) WHERE problem = '';

-- Commits that are not valid (protocol rules 7 and 18).
-- The entry that has ended an epoch and is not a valid commit, as it came (`next` may be missing), and a hash of the group that it was
-- judged against (`mls::Group::context_hash`). Who has signed it, where that is certain: leaf, address, account key, device. Times in ms.
-- `ending` is its hash; `due`: when this device makes a successor, 0 for never; `successor`: the conversation that goes on, made by
-- `successor_leaf` and taken at `chosen`.
CREATE TABLE endings (
  conversation BLOB NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, entry BLOB NOT NULL, next BLOB, body BLOB NOT NULL, time INTEGER NOT NULL,
  stamp BLOB NOT NULL, context BLOB NOT NULL, why TEXT NOT NULL, leaf INTEGER, address TEXT, account_key BLOB, device BLOB, ending BLOB NOT NULL,
  due INTEGER NOT NULL, successor BLOB, successor_leaf INTEGER, chosen INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (conversation, epoch)
) STRICT, WITHOUT ROWID;
-- Lines of successors: which conversation one goes on for, the log in which the line began, the place up to which messages are those of predecessors,
-- and which one goes on for it.
ALTER TABLE conversations ADD COLUMN line_of BLOB;
ALTER TABLE conversations ADD COLUMN line_room BLOB;
ALTER TABLE conversations ADD COLUMN line_offset INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN line_next BLOB;

-- What the backup on the relay holds of things as they are (a contact, an outline, how a conversation is kept): SHA-256 of its key, SHA-256 of it.
CREATE TABLE backed_up (item BLOB PRIMARY KEY, hash BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Presence (protocol rule 19): when this device last heard that somebody is there, in ms; only while the person tells it too.
CREATE TABLE presence (address TEXT PRIMARY KEY, time INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Requests to come in by a link that an account made (by its own clock, in ms) up to `time`, which were looked at, or up to `left`, when it was last
-- in the group, say nothing more.
CREATE TABLE join_requests_spent (
  conversation BLOB NOT NULL, account_key BLOB NOT NULL, time INTEGER NOT NULL, left INTEGER NOT NULL, PRIMARY KEY (conversation, account_key)
) STRICT, WITHOUT ROWID;
