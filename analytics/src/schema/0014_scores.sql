-- What was thought of answers. The last score of a name counts, for each of those who score. Read `scores` instead.
CREATE TABLE IF NOT EXISTS score_log (
    id UUID,
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1)),
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    request_id UUID,
    project LowCardinality(String),
    name LowCardinality(String),
    number Nullable(Float64),
    text Nullable(String) CODEC(ZSTD(1)),
    comment String CODEC(ZSTD(1)),
    by LowCardinality(String),
    source LowCardinality(String)
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (project, name, request_id, source, by)
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    non_replicated_deduplication_window = 1000;

CREATE VIEW IF NOT EXISTS scores (
    request_id UUID COMMENT 'the request whose answer is scored',
    project LowCardinality(String) COMMENT 'who pays for it',
    name LowCardinality(String) COMMENT 'what is scored',
    number Nullable(Float64) COMMENT 'a number, or 1 and 0 for yes and no; NULL: it is a text',
    text Nullable(String),
    comment String,
    by LowCardinality(String) COMMENT 'the virtual key or the admin',
    source LowCardinality(String) COMMENT 'key, admin',
    at DateTime64(6, 'UTC')
) AS
SELECT request_id, project, name, number, text, comment, by, source, at FROM score_log FINAL;

-- What can be said of an answer without reading it, from the word in which its provider says why it ended.
CREATE VIEW IF NOT EXISTS answer_checks (
    request_id UUID,
    attempt_id UUID,
    started_at DateTime64(6, 'UTC'),
    project LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    model_version LowCardinality(Nullable(String)),
    is_refused Bool COMMENT 'the provider or its filter declined to answer, or cut the answer off for what it says',
    is_cut Bool COMMENT 'the answer ended because it was as long as it may be',
    is_empty Bool COMMENT 'no token of output was reported or counted',
    output_tokens Nullable(UInt64) COMMENT 'all classes together'
) AS
SELECT
    request_id, attempt_id, started_at, project, provider, model, model_version,
    CAST(ifNull(lower(finish_reason) IN ('content_filter', 'content_filtered', 'refusal', 'safety', 'recitation', 'blocklist',
        'prohibited_content', 'spii', 'image_safety', 'guardrail_intervened', 'error_toxic'), false), 'Bool') AS is_refused,
    CAST(ifNull(lower(finish_reason) IN ('length', 'max_tokens', 'model_length', 'model_context_window_exceeded'), false),
        'Bool') AS is_cut,
    CAST(ifNull(total_output_tokens = 0, false), 'Bool') AS is_empty,
    total_output_tokens AS output_tokens
FROM attempts
WHERE outcome = 'served' AND operation IN ('chat', 'completions');
