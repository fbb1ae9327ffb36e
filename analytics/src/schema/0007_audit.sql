-- What the ledger wrote about changes of what is managed: one row each; redelivered rows collapse. Read `audit` instead.
CREATE TABLE IF NOT EXISTS audit_log (
    id UUID,
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1)),
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    actor LowCardinality(String),
    role LowCardinality(String),
    action LowCardinality(String),
    kind LowCardinality(String),
    name String,
    project LowCardinality(Nullable(String)),
    before Nullable(String),
    after Nullable(String),
    request_id Nullable(UUID),
    source LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (at, id)
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    non_replicated_deduplication_window = 1000;

-- Exactly one row per change, whatever was delivered how often.
CREATE VIEW IF NOT EXISTS audit (
    id UUID,
    at DateTime64(6, 'UTC'),
    actor LowCardinality(String) COMMENT 'who made the change',
    role LowCardinality(String) COMMENT 'admin, owner, viewer',
    action LowCardinality(String) COMMENT 'create, update, delete, rotate',
    kind LowCardinality(String) COMMENT 'project, user, budget, limit, key, admin',
    name String COMMENT 'of the object',
    project LowCardinality(Nullable(String)) COMMENT 'that the object belongs to',
    before Nullable(String) COMMENT 'the object as JSON, without secrets',
    after Nullable(String),
    request_id Nullable(UUID),
    source LowCardinality(String) COMMENT 'api, cli, apply'
) AS
SELECT id, at, actor, role, action, kind, name, project, before, after, request_id, source FROM audit_log FINAL;
