-- From format 4 to format 5: when the relay of an account was last asked for its devices, in ms; 0: not noted.
ALTER TABLE contacts ADD COLUMN looked_up INTEGER NOT NULL DEFAULT 0;
