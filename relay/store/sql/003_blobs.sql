-- Version 3: attachments. Their bytes are files with these ids for names, in a folder beside this file; here is who put
-- them and which messages need them. A row is written after its file is durable, and deleted before its file goes.

-- A blob that is whole.
CREATE TABLE blob (
    number INTEGER PRIMARY KEY,   -- what the other tables call it
    id     BLOB NOT NULL UNIQUE,  -- SHA-256 of its bytes, and its file's name
    size   INTEGER NOT NULL,      -- bytes of its file
    since  INTEGER NOT NULL,      -- when it was last put: without a message it is kept for a day from then
    uses   INTEGER NOT NULL       -- how many messages name it: its rows in blob_use
);

-- What may go: only blobs that no message names.
CREATE INDEX blob_idle ON blob (since, id) WHERE uses = 0;

-- Which desk put which blob: whose quota it uses, and who may name it.
CREATE TABLE blob_desk (
    desk TEXT NOT NULL,
    blob INTEGER NOT NULL REFERENCES blob,
    PRIMARY KEY (desk, blob)
) WITHOUT ROWID;

CREATE INDEX blob_desk_blob ON blob_desk (blob);

-- Which messages need which blobs; deleted with the envelope.
CREATE TABLE blob_use (
    arrival INTEGER NOT NULL REFERENCES message,
    blob    INTEGER NOT NULL REFERENCES blob,
    PRIMARY KEY (arrival, blob)
) WITHOUT ROWID;

CREATE INDEX blob_use_blob ON blob_use (blob, arrival);
