-- Requests and their answers, where the operator has them kept: masked, and for as long as [bodies] says. Read `bodies` instead.
CREATE TABLE IF NOT EXISTS body_log (
    request_id UUID,
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    project LowCardinality(String),
    user Nullable(String),
    end_user Nullable(String),
    key_id LowCardinality(String),
    dialect LowCardinality(String),
    model LowCardinality(String),
    request String CODEC(ZSTD(6)),
    request_bytes UInt64,
    answer String CODEC(ZSTD(6)),
    answer_bytes UInt64
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (project, toStartOfHour(received_at), toUInt128(request_id))
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE VIEW IF NOT EXISTS bodies (
    request_id UUID,
    received_at DateTime64(6, 'UTC'),
    project LowCardinality(String),
    user Nullable(String),
    end_user Nullable(String),
    key_id LowCardinality(String),
    dialect LowCardinality(String) COMMENT 'in whose words both are',
    model LowCardinality(String) COMMENT 'as the caller named it',
    request String COMMENT 'from its beginning, secrets masked',
    request_bytes UInt64 COMMENT 'how long it was',
    answer String COMMENT 'from its beginning, secrets masked; of a stream all its events',
    answer_bytes UInt64 COMMENT 'how long it was'
) AS
SELECT
    request_id, received_at, project, user, end_user, key_id, dialect, model, request, request_bytes, answer, answer_bytes
FROM body_log FINAL;
