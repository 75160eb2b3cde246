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
