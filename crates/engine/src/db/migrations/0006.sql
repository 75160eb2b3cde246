-- From format 5 to format 6: what groups were called before, so that an old name reaches nobody else.
CREATE TABLE former_names (
  conversation BLOB NOT NULL,
  name         TEXT NOT NULL,
  PRIMARY KEY (conversation, name)
) STRICT, WITHOUT ROWID;

-- A group gets its name in several ways (a commit, a successor, a backup), and each goes through this column. Not by INSERT OR IGNORE: in a
-- trigger the outer statement's way with conflicts goes before its own.
CREATE TRIGGER former_names_kept AFTER UPDATE OF name ON conversations
WHEN old.kind = 1 AND old.name != new.name AND old.name != '' BEGIN
  INSERT INTO former_names SELECT old.id, old.name
  WHERE NOT EXISTS (SELECT 1 FROM former_names WHERE conversation = old.id AND name = old.name);
END;
