-- What the ledger wrote about requests: one row each; redelivered rows collapse. Read `requests` instead.
CREATE TABLE IF NOT EXISTS request_log (
    request_id UUID,
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1)),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    ended_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    project LowCardinality(String),
    user Nullable(String),
    key_id LowCardinality(String),
    dialect LowCardinality(String),
    operation LowCardinality(String),
    model LowCardinality(String),
    target LowCardinality(Nullable(String)),
    attempts UInt32,
    stream Bool,
    outcome LowCardinality(String),
    failure LowCardinality(Nullable(String)),
    status UInt16,
    cache LowCardinality(String),
    first_token_us Nullable(UInt64),
    cost_usd Nullable(Decimal(38, 12)),
    tags Map(LowCardinality(String), String)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (project, toStartOfHour(received_at), toUInt128(request_id))
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    non_replicated_deduplication_window = 1000;

-- Exactly one row per request, whatever was delivered how often.
CREATE VIEW IF NOT EXISTS requests (
    request_id UUID,
    received_at DateTime64(6, 'UTC'),
    ended_at DateTime64(6, 'UTC'),
    project LowCardinality(String) COMMENT 'who pays',
    user Nullable(String) COMMENT 'who asks, within the project',
    key_id LowCardinality(String),
    dialect LowCardinality(String) COMMENT 'the format that the client speaks',
    operation LowCardinality(String),
    model LowCardinality(String) COMMENT 'as the caller named it',
    target LowCardinality(Nullable(String)) COMMENT 'provider/model that answered, or was tried last',
    attempts UInt32 COMMENT 'how many were made',
    stream Bool,
    outcome LowCardinality(String) COMMENT 'served, refused, broken, cancelled',
    failure LowCardinality(Nullable(String)),
    status UInt16 COMMENT 'what the client saw',
    cache LowCardinality(String) COMMENT 'off, miss, exact, semantic',
    first_token_us Nullable(UInt64) COMMENT 'from the first byte in to the first content out',
    total_us UInt64,
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'of the answer; failed attempts before it have rows of their own in attempts',
    tags Map(LowCardinality(String), String)
) AS
SELECT
    request_id, received_at, ended_at, project, user, key_id, dialect, operation, model, target, attempts, stream, outcome,
    failure, status, cache, first_token_us,
    toUInt64(greatest(0, dateDiff('microsecond', received_at, ended_at))) AS total_us,
    cost_usd, tags
FROM request_log FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;
