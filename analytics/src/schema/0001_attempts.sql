-- What the ledger wrote about attempts: up to two rows each, the start (version 0) and the end (version 1), of which the
-- engine keeps the end. Redelivered rows collapse the same way. Read `attempts` instead: it is one row per attempt always.
-- Every column of the sorting and partition keys is known at the start, so that both rows of an attempt meet. The id is
-- ordered as a number: ClickHouse does not sort a UUIDv7 by its time.
CREATE TABLE IF NOT EXISTS attempt_log (
    attempt_id UUID,
    request_id UUID,
    version UInt8 COMMENT '0: the start, 1: the end',
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1)),
    started_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    deadline DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    ended_at Nullable(DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    project LowCardinality(String),
    user Nullable(String),
    key_id LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    virtual_model LowCardinality(Nullable(String)),
    model_version LowCardinality(Nullable(String)),
    operation LowCardinality(String),
    number UInt32,
    link UInt32,
    stream Bool,
    outcome LowCardinality(String),
    failure LowCardinality(Nullable(String)),
    provider_status Nullable(UInt16),
    provider_request_id Nullable(String),
    finish_reason LowCardinality(Nullable(String)),
    input_tokens Nullable(UInt64),
    cache_read_tokens Nullable(UInt64),
    cache_write_tokens Nullable(UInt64),
    cache_write_1h_tokens Nullable(UInt64),
    input_audio_tokens Nullable(UInt64),
    input_image_tokens Nullable(UInt64),
    output_tokens Nullable(UInt64),
    reasoning_tokens Nullable(UInt64),
    output_audio_tokens Nullable(UInt64),
    images Nullable(UInt64),
    seconds Nullable(UInt64),
    characters Nullable(UInt64),
    searches Nullable(UInt64),
    usage_source LowCardinality(String),
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'of a start: the worst case',
    worst_case_usd Nullable(Decimal(38, 12)),
    price_id LowCardinality(Nullable(String)),
    first_token_us Nullable(UInt64),
    total_us Nullable(UInt64),
    tags Map(LowCardinality(String), String),
    -- Which hours were touched when, for the price of a few rows: see `spend_by_hour`.
    PROJECTION touched_hours (
        SELECT toStartOfHour(started_at), max(inserted_at) GROUP BY toStartOfHour(started_at)
    )
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(started_at)
ORDER BY (project, toStartOfHour(started_at), toUInt128(attempt_id))
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    non_replicated_deduplication_window = 1000,
    deduplicate_merge_projection_mode = 'rebuild';

-- The ledger: exactly one row per attempt, whatever was delivered how often. `do_not_merge_across_partitions_…` is safe,
-- because both rows of an attempt are in the same partition, and makes old months cheap.
CREATE VIEW IF NOT EXISTS attempts (
    attempt_id UUID,
    request_id UUID,
    started_at DateTime64(6, 'UTC'),
    ended_at Nullable(DateTime64(6, 'UTC')),
    project LowCardinality(String) COMMENT 'who pays',
    user Nullable(String) COMMENT 'who asks, within the project',
    key_id LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String) COMMENT 'as its provider spells it',
    virtual_model LowCardinality(Nullable(String)) COMMENT 'the name that the caller used, when it stands for several models',
    model_version LowCardinality(Nullable(String)) COMMENT 'the model as the provider named it in its answer',
    operation LowCardinality(String),
    number UInt32 COMMENT 'within the request, from 1',
    link UInt32 COMMENT 'place in the plan, from 0',
    stream Bool,
    outcome LowCardinality(String) COMMENT 'served, refused, broken, cancelled; unknown while no end is known',
    running Bool COMMENT 'no end is known, and its deadline is still to come',
    failure LowCardinality(Nullable(String)),
    provider_status Nullable(UInt16),
    provider_request_id Nullable(String),
    finish_reason LowCardinality(Nullable(String)),
    input_tokens Nullable(UInt64) COMMENT 'neither read from nor written to a cache; NULL in this and all other classes: not reported',
    cache_read_tokens Nullable(UInt64),
    cache_write_tokens Nullable(UInt64) COMMENT 'kept for 5 minutes',
    cache_write_1h_tokens Nullable(UInt64),
    input_audio_tokens Nullable(UInt64),
    input_image_tokens Nullable(UInt64),
    output_tokens Nullable(UInt64) COMMENT 'neither reasoning nor audio',
    reasoning_tokens Nullable(UInt64),
    output_audio_tokens Nullable(UInt64),
    total_input_tokens Nullable(UInt64) COMMENT 'all classes together',
    total_output_tokens Nullable(UInt64) COMMENT 'all classes together',
    images Nullable(UInt64),
    seconds Nullable(UInt64),
    characters Nullable(UInt64),
    searches Nullable(UInt64),
    usage_source LowCardinality(String) COMMENT 'provider, counted, unknown',
    cost_usd Nullable(Decimal(38, 12)) COMMENT '0 while it is running; the worst case when its deadline has passed without an end; NULL: no price is known',
    worst_case_usd Nullable(Decimal(38, 12)),
    price_id LowCardinality(Nullable(String)) COMMENT 'the row of prices that it was charged by',
    first_token_us Nullable(UInt64),
    total_us Nullable(UInt64),
    deadline DateTime64(6, 'UTC'),
    tags Map(LowCardinality(String), String)
) AS
SELECT
    attempt_id, request_id, started_at, ended_at, project, user, key_id, provider, model, virtual_model, model_version,
    operation, number, link, stream, outcome,
    CAST(version = 0 AND now64(6) < deadline, 'Bool') AS running,
    failure, provider_status, provider_request_id, finish_reason,
    input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, input_audio_tokens, input_image_tokens,
    output_tokens, reasoning_tokens, output_audio_tokens,
    if(coalesce(input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, input_audio_tokens,
                input_image_tokens) IS NULL, NULL,
       ifNull(input_tokens, 0) + ifNull(cache_read_tokens, 0) + ifNull(cache_write_tokens, 0)
       + ifNull(cache_write_1h_tokens, 0) + ifNull(input_audio_tokens, 0) + ifNull(input_image_tokens, 0)
    ) AS total_input_tokens,
    if(coalesce(output_tokens, reasoning_tokens, output_audio_tokens) IS NULL, NULL,
       ifNull(output_tokens, 0) + ifNull(reasoning_tokens, 0) + ifNull(output_audio_tokens, 0)
    ) AS total_output_tokens,
    images, seconds, characters, searches, usage_source,
    if(running AND attempt_log.cost_usd IS NOT NULL, toDecimal128(0, 12), attempt_log.cost_usd) AS cost_usd,
    worst_case_usd, price_id, first_token_us, total_us, deadline, tags
FROM attempt_log FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;
