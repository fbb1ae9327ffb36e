-- Why a request went where it went.
ALTER TABLE request_log
    ADD COLUMN IF NOT EXISTS strategy LowCardinality(String),
    ADD COLUMN IF NOT EXISTS experiment LowCardinality(String),
    ADD COLUMN IF NOT EXISTS arm LowCardinality(String),
    ADD COLUMN IF NOT EXISTS propensity Nullable(Float64),
    ADD COLUMN IF NOT EXISTS route String CODEC(ZSTD(1));

-- As before, with what is new.
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
    cache LowCardinality(String) COMMENT 'off, miss, exact, semantic, joined',
    first_token_us Nullable(UInt64) COMMENT 'from the first byte in to the first content out',
    total_us UInt64,
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'of the answer, 0 when another request had paid for it; failed attempts before it have rows of their own in attempts',
    saved_usd Nullable(Decimal(38, 12)) COMMENT 'what the answer would have cost then, when it came from the cache',
    cache_source Nullable(UUID) COMMENT 'the request that had paid for it',
    batch_id String COMMENT 'the batch that it belongs to; empty: none',
    session String COMMENT 'the agent''s run or the conversation that it is a part of; empty: none is known',
    session_source LowCardinality(String) COMMENT 'where that stood: header, client, metadata, conversation, prompt_cache_key, response',
    trace_id String COMMENT 'empty: no trace was made',
    stages Map(LowCardinality(String), UInt64) COMMENT 'microseconds in each stage',
    strategy LowCardinality(String) COMMENT 'how its target was found; empty: the caller named one, or the cache had the answer',
    experiment LowCardinality(String) COMMENT 'the experiment that it is a part of; empty: none',
    arm LowCardinality(String) COMMENT 'its arm',
    propensity Nullable(Float64) COMMENT 'the probability with which its first target, or its arm, was chosen',
    route String COMMENT 'the decision as JSON: strategy, reason, candidates with what was expected of each, filters',
    tags Map(LowCardinality(String), String)
) AS
SELECT
    request_id, received_at, ended_at, project, user, end_user, key_id, dialect, operation, model, target, attempts, stream, outcome,
    failure, status, cache, first_token_us,
    toUInt64(greatest(0, dateDiff('microsecond', received_at, ended_at))) AS total_us,
    cost_usd, saved_usd, cache_source, batch_id, session, session_source, trace_id, stages,
    strategy, experiment, arm, propensity, route, tags
FROM request_log FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;
