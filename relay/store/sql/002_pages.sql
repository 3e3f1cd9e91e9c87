-- Version 2: the outbox of pages, marks, and what the auditor looks at.

-- Somebody who must be woken: put here in the same commit as the decision, so that no crash lies between the two.
CREATE TABLE page (
    id          BLOB NOT NULL PRIMARY KEY, -- 32 bytes made from what the page is about: the same page is not put in twice
    arrival     INTEGER NOT NULL REFERENCES message, -- the message that it is about
    desk        TEXT NOT NULL,
    handle      TEXT NOT NULL,    -- an endpoint's name in the desk's profile; its address is not in this file
    stage       INTEGER NOT NULL, -- the number of the ladder's stage
    kind        TEXT NOT NULL,    -- and its kind
    priority    TEXT NOT NULL,    -- emergency, urgent, routine
    mode        TEXT NOT NULL,    -- actual, exercise, test
    created     INTEGER NOT NULL, -- when the stage fired
    expires     INTEGER NOT NULL, -- when nobody wants to be woken for it any more
    state       TEXT NOT NULL,    -- ready, leased; sent, failed, cancelled, expired
    not_before  INTEGER NOT NULL, -- ready: when it may be tried (again)
    attempt     INTEGER NOT NULL, -- how often it was leased; what a pager says of another attempt does not count
    lease_until INTEGER NOT NULL, -- leased: when its pager is taken for dead
    result      TEXT NOT NULL,    -- what came of the last attempt, a word of the pager; empty: nothing is known
    due         INTEGER AS (CASE state WHEN 'ready' THEN not_before WHEN 'leased' THEN lease_until END) -- NULL: at an end
);

-- What a pager looks for: only pages that have not come to an end.
CREATE INDEX page_due ON page (due) WHERE due IS NOT NULL;
CREATE INDEX page_arrival ON page (arrival);
CREATE INDEX page_expires ON page (expires);

-- Small numbers that outlive the process: how far the relay's clock had come.
CREATE TABLE mark (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL        -- what it stands for is its owner's business
) WITHOUT ROWID;

-- How many timers must stand for a message by the rules (0: its life needs no watching). A file of version 1 did not
-- say so; what had a timer there is open.
ALTER TABLE message ADD COLUMN open INTEGER NOT NULL DEFAULT 0;
UPDATE message SET open = (SELECT count(*) FROM timer WHERE subject = lower(hex(msg)));

-- All that the auditor reads of the messages: those that are open, in the order of arrival.
CREATE INDEX message_open ON message (arrival, msg, open) WHERE open > 0;
