-- The batch that a request belongs to, and whether its provider's own batch API was used. A batch's rows lie together or
-- hours apart: the index finds them without reading all others.
ALTER TABLE attempt_log
    ADD COLUMN IF NOT EXISTS batch_id String CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS native_batch Bool,
    ADD INDEX IF NOT EXISTS by_batch batch_id TYPE bloom_filter GRANULARITY 4;

ALTER TABLE request_log
    ADD COLUMN IF NOT EXISTS batch_id String CODEC(ZSTD(1)),
    ADD INDEX IF NOT EXISTS by_batch batch_id TYPE bloom_filter GRANULARITY 4;

ALTER TABLE price_log
    ADD COLUMN IF NOT EXISTS batch_rate Nullable(Decimal(38, 12)),
    ADD COLUMN IF NOT EXISTS batch_cache_read_rate Nullable(Decimal(38, 12));

-- As before, with what is new.
CREATE OR REPLACE VIEW attempts (
    attempt_id UUID,
    request_id UUID,
    started_at DateTime64(6, 'UTC'),
    ended_at Nullable(DateTime64(6, 'UTC')),
    project LowCardinality(String) COMMENT 'who pays',
    user Nullable(String) COMMENT 'who asks, within the project: the key''s or the token''s user, else the body''s, else the header''s',
    end_user Nullable(String) COMMENT 'the user that the body names',
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
    running Bool COMMENT 'no end is known, its worker is not known to be gone, and its deadline is still to come',
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
    output_image_tokens Nullable(UInt64),
    total_input_tokens Nullable(UInt64) COMMENT 'all classes together',
    total_output_tokens Nullable(UInt64) COMMENT 'all classes together',
    images Nullable(UInt64),
    seconds Nullable(UInt64),
    characters Nullable(UInt64),
    searches Nullable(UInt64),
    code_executions Nullable(UInt64),
    file_searches Nullable(UInt64),
    usage_source LowCardinality(String) COMMENT 'provider, counted, unknown',
    claimed_usage Map(LowCardinality(String), UInt64) COMMENT 'what the provider claims, by class, where that cannot be; then the classes hold what was counted',
    unpriced_usage Map(LowCardinality(String), UInt64) COMMENT 'what of the usage has no price, by class: cost_usd is the sum of the rest',
    cost_usd Nullable(Decimal(38, 12)) COMMENT '0 while it is running; the worst case when it is not and has no end; without unpriced_usage; NULL: no price is known',
    worst_case_usd Nullable(Decimal(38, 12)),
    charged_usd Decimal(38, 12) COMMENT 'as it counts in budgets: cost_usd, and unpriced_usage at the ceiling; where that is not known, the worst case, unless the provider refused; 0 while it is running',
    charged_tokens UInt64 COMMENT 'the same in tokens',
    worst_tokens UInt64,
    price_id LowCardinality(Nullable(String)) COMMENT 'the row of prices that it was charged by',
    first_token_us Nullable(UInt64),
    total_us Nullable(UInt64),
    deadline DateTime64(6, 'UTC'),
    worker LowCardinality(Nullable(String)) COMMENT 'the process that made it',
    reservation Nullable(UUID) COMMENT 'what was set aside for its request',
    lease Nullable(UUID) COMMENT 'whose share of the budgets that was taken from',
    books Array(LowCardinality(String)) COMMENT 'the budgets'' counters that it counts in',
    batch_id String COMMENT 'the batch that its request belongs to; empty: none',
    native_batch Bool COMMENT 'made through the provider''s own batch API, at the batch price',
    tags Map(LowCardinality(String), String)
) AS
SELECT
    attempt_id, request_id, started_at, ended_at, project, user, end_user, key_id, provider, model, virtual_model, model_version,
    operation, number, link, stream, outcome,
    CAST(version = 0 AND now64(6) < deadline, 'Bool') AS running,
    failure, provider_status, provider_request_id, finish_reason,
    input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, input_audio_tokens, input_image_tokens,
    output_tokens, reasoning_tokens, output_audio_tokens, output_image_tokens,
    if(coalesce(input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, input_audio_tokens,
                input_image_tokens) IS NULL, NULL,
       ifNull(input_tokens, 0) + ifNull(cache_read_tokens, 0) + ifNull(cache_write_tokens, 0)
       + ifNull(cache_write_1h_tokens, 0) + ifNull(input_audio_tokens, 0) + ifNull(input_image_tokens, 0)
    ) AS total_input_tokens,
    if(coalesce(output_tokens, reasoning_tokens, output_audio_tokens, output_image_tokens) IS NULL, NULL,
       ifNull(output_tokens, 0) + ifNull(reasoning_tokens, 0) + ifNull(output_audio_tokens, 0)
       + ifNull(output_image_tokens, 0)
    ) AS total_output_tokens,
    images, seconds, characters, searches, code_executions, file_searches, usage_source, claimed_usage, unpriced_usage,
    if(running AND attempt_log.cost_usd IS NOT NULL, toDecimal128(0, 12), attempt_log.cost_usd) AS cost_usd,
    worst_case_usd,
    if(running, toDecimal128(0, 12), attempt_log.charged_usd) AS charged_usd,
    if(running, 0, attempt_log.charged_tokens) AS charged_tokens,
    worst_tokens, price_id, first_token_us, total_us, deadline, worker, reservation, lease, books,
    batch_id, native_batch, tags
FROM attempt_log FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW requests (
    request_id UUID,
    received_at DateTime64(6, 'UTC'),
    ended_at DateTime64(6, 'UTC'),
    project LowCardinality(String) COMMENT 'who pays',
    user Nullable(String) COMMENT 'who asks, within the project: the key''s or the token''s user, else the body''s, else the header''s',
    end_user Nullable(String) COMMENT 'the user that the body names',
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
    batch_id String COMMENT 'the batch that it belongs to; empty: none',
    tags Map(LowCardinality(String), String)
) AS
SELECT
    request_id, received_at, ended_at, project, user, end_user, key_id, dialect, operation, model, target, attempts, stream, outcome,
    failure, status, cache, first_token_us,
    toUInt64(greatest(0, dateDiff('microsecond', received_at, ended_at))) AS total_us,
    cost_usd, batch_id, tags
FROM request_log FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW prices (
    provider LowCardinality(String),
    model String,
    valid_from DateTime64(6, 'UTC') COMMENT 'the price holds until the next one does',
    price_id String,
    input_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'NULL in this and all other classes: no price of its own',
    cache_read_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'NULL: charged as input',
    cache_write_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'NULL: charged as input',
    cache_write_1h_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'NULL: charged as cache_write',
    input_audio_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'NULL: charged as input',
    input_image_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'NULL: charged as input',
    output_usd_per_million Nullable(Decimal(38, 12)),
    reasoning_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'NULL: charged as output',
    output_audio_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'NULL: charged as output',
    output_image_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'NULL: charged as output',
    batch_input_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'through the provider''s batch API',
    batch_output_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'through the provider''s batch API',
    batch_rate Nullable(Decimal(38, 12)) COMMENT 'what that API charges of each price per token; NULL: no batch price is known',
    batch_cache_read_rate Nullable(Decimal(38, 12)) COMMENT 'the same of cache_read; NULL: charged as the input of a batch',
    characters_usd_per_million Nullable(Decimal(38, 12)),
    usd_per_image Nullable(Decimal(38, 12)),
    usd_per_second Nullable(Decimal(38, 12)),
    usd_per_search Nullable(Decimal(38, 12)),
    usd_per_code_execution Nullable(Decimal(38, 12)),
    usd_per_file_search Nullable(Decimal(38, 12)),
    tiers String COMMENT 'JSON: other prices for requests with more input than above_input_tokens'
) AS
SELECT * EXCEPT recorded_at FROM price_log FINAL;
