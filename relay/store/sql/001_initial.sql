-- The embedded store, version 1. Read from top to bottom: this file is the store's description.
--
-- Ids (message ids, statement ids, key ids) are their 32 bytes; times are seconds UTC. Whatever refers to a message does
-- so by its arrival number, which only grows: rows that are written together lie together, and no index of ours grows
-- at random places but the two that look an id up (message.msg, log_entry).
-- One file, one connection, one transaction for all tables: a message is accepted with everything that belongs to it.

-- In the file's header: a store of ours, and not somebody's other SQLite file.
PRAGMA application_id = 1891778561;

-- One row about the file itself.
CREATE TABLE store (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    epoch      INTEGER NOT NULL,  -- when this store began or was last restored: sequence numbers count within it; 0: new
    copied     INTEGER NOT NULL,  -- 1: this file is a backup; it takes a new epoch when it is started
    starts     INTEGER NOT NULL,  -- how often it was opened: a write that must succeed before anybody is served
    envelopes  INTEGER NOT NULL,  -- how many envelopes are here, so that metrics need not count
    statements INTEGER NOT NULL   -- how many statements are here
);

-- The evidence log (PROTOCOL 13): what this relay has vouched for, in its order. Never changed, never deleted.
CREATE TABLE log (
    position INTEGER PRIMARY KEY, -- 0, 1, 2 ... without a gap
    entry    BLOB NOT NULL        -- 32 bytes: a statement's id or the SHA-256 of a directory file
);

-- Where an entry stands in the log: finds statements by id, and later what a proof is asked for.
CREATE INDEX log_entry ON log (entry);

-- One row: the log's tree, as far as appending needs it. Written once per transaction.
CREATE TABLE frontier (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    tree  BLOB NOT NULL           -- size (8 bytes, big endian), then the roots of the complete subtrees, largest first
);

-- A message that was accepted. The row stays when the envelope goes: a repeat years later finds its answer.
CREATE TABLE message (
    arrival    INTEGER PRIMARY KEY, -- 1, 2, 3 ... in the order of acceptance, without a gap
    msg        BLOB NOT NULL UNIQUE, -- SHA-256 of the envelope
    version    INTEGER NOT NULL,  -- grows by 1 with every change: the next change must name the one it stands on
    state      BLOB NOT NULL,     -- what the rules (relay/core/message.py) remember of it
    drop_after INTEGER            -- when its envelope may be purged; 0: not yet known; NULL: no envelope is here
);

-- What purge looks for, and nothing else.
CREATE INDEX message_drop ON message (drop_after) WHERE drop_after > 0;

-- The sealed bytes, apart from the row that changes: a state change never rewrites them.
CREATE TABLE envelope (
    arrival INTEGER PRIMARY KEY REFERENCES message,
    bytes   BLOB NOT NULL
);

-- A signed statement, kept for years.
CREATE TABLE statement (
    position INTEGER PRIMARY KEY REFERENCES log, -- where its id stands in the log; log.entry is its id
    kind     TEXT NOT NULL,
    arrival  INTEGER REFERENCES message, -- the message that it is about; NULL: none, or one that was not here yet
    stray    BLOB,                -- the id of a message that was not here when the statement came; else NULL
    at       INTEGER NOT NULL,    -- when this relay received or made it
    wire     BLOB NOT NULL        -- the exact bytes that were signed
);

-- A message's statements, in the log's order.
CREATE INDEX statement_arrival ON statement (arrival) WHERE arrival IS NOT NULL;
CREATE INDEX statement_stray ON statement (stray) WHERE stray IS NOT NULL;

-- A desk that has or had something here.
CREATE TABLE desk (
    number  INTEGER PRIMARY KEY,  -- what the other tables call it
    name    TEXT NOT NULL UNIQUE, -- VN, AU, AU-B
    head    INTEGER NOT NULL,     -- the last sequence number of its mailbox
    waiting INTEGER NOT NULL      -- how many messages wait for it: the rows of `waiting`
);

-- The mailbox of a desk: what it is told of, once each, in order. Envelopes and statements are not repeated here.
CREATE TABLE entry (
    desk    INTEGER NOT NULL REFERENCES desk,
    seq     INTEGER NOT NULL,     -- 1, 2, 3 ... per desk, without a gap
    arrival INTEGER NOT NULL REFERENCES message, -- the message that the entry belongs to
    ref     INTEGER NOT NULL,     -- what it points to: a statement's position; negative: the message of that arrival
    PRIMARY KEY (desk, seq)
) WITHOUT ROWID;

-- The same thing is told to a desk once.
CREATE UNIQUE INDEX entry_once ON entry (desk, ref);

-- Which messages wait for which desk: what a full mailbox is full of.
CREATE TABLE waiting (
    desk    INTEGER NOT NULL REFERENCES desk,
    arrival INTEGER NOT NULL REFERENCES message,
    PRIMARY KEY (desk, arrival)
) WITHOUT ROWID;

-- Alarms that survive a restart. Small: only what is still open has one.
CREATE TABLE timer (
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,     -- a message id in hex, as a rule
    generation INTEGER NOT NULL,  -- tells a stale alarm from the one that is armed
    due        INTEGER NOT NULL,
    PRIMARY KEY (kind, subject)
) WITHOUT ROWID;

CREATE INDEX timer_due ON timer (due);

-- One row: the version of the signed directory that this relay works on.
CREATE TABLE directory (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL,     -- only grows
    pins    BLOB NOT NULL         -- the desk keys last accepted, as keys/directory.py wrote them
);

-- Its files, replaced as a whole.
CREATE TABLE directory_file (
    name  TEXT PRIMARY KEY,
    bytes BLOB NOT NULL
);

-- Prekeys that devices have published (PROTOCOL 8.7); deleted 30 days after their end.
CREATE TABLE prekey (
    sid        BLOB NOT NULL PRIMARY KEY,
    desk       TEXT NOT NULL,
    device     BLOB NOT NULL,     -- the device's key id
    hint       BLOB NOT NULL,     -- 8 bytes: what a stanza names
    not_before INTEGER NOT NULL,
    not_after  INTEGER NOT NULL,
    received   INTEGER NOT NULL,
    wire       BLOB NOT NULL
);

CREATE INDEX prekey_desk ON prekey (desk, not_after);
CREATE INDEX prekey_end ON prekey (not_after);

INSERT INTO store VALUES (1, 0, 0, 0, 0, 0);
INSERT INTO frontier VALUES (1, x'0000000000000000');
