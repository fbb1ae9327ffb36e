-- What the ledger wrote about alerts: one row each; redelivered rows collapse. Read `alerts` instead.
CREATE TABLE IF NOT EXISTS alert_log (
    alert_id UUID,
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1)),
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    kind LowCardinality(String),
    subject String,
    window String,
    message String,
    details Map(LowCardinality(String), String)
)
ENGINE = ReplacingMergeTree
ORDER BY alert_id
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    non_replicated_deduplication_window = 1000;

-- Exactly one row per alert.
CREATE VIEW IF NOT EXISTS alerts (
    alert_id UUID COMMENT 'made of kind, subject and window: the same is told once',
    at DateTime64(6, 'UTC'),
    kind LowCardinality(String) COMMENT 'budget_threshold, budget_exceeded, unpriced_model, provider_key_failing, reconciliation_difference, spending_slope',
    subject String COMMENT 'to whom or what: a budget''s counter, a target, a provider''s key',
    window String COMMENT 'within which time it is told once',
    message String,
    details Map(LowCardinality(String), String)
) AS
SELECT alert_id, at, kind, subject, window, message, details FROM alert_log FINAL;
