-- Spend by the hour, for reports over long times. Each hour is counted anew from `attempts` after it was touched, and
-- never added to, so that a redelivered event cannot count twice. What is in here can be thrown away at any time
-- (TRUNCATE both tables): it is counted again. Users and tags are not in here: there may be as many as attempts.
CREATE TABLE IF NOT EXISTS spend_by_hour (
    hour DateTime('UTC'),
    project LowCardinality(String),
    key_id LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    virtual_model LowCardinality(String) COMMENT 'empty: none',
    operation LowCardinality(String),
    counted_at DateTime64(6, 'UTC'),
    attempts UInt64,
    sole UInt64 COMMENT 'attempts that are their request''s only one',
    requests AggregateFunction(uniqExact, UUID) COMMENT 'of the other attempts',
    input_tokens UInt64,
    output_tokens UInt64,
    cost_usd Decimal(38, 12)
)
ENGINE = ReplacingMergeTree(counted_at)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, project, key_id, provider, model, virtual_model, operation);

-- Written after all rows of an hour: it may be read from `spend_by_hour` while no attempt of it was inserted later.
CREATE TABLE IF NOT EXISTS spend_hours (
    hour DateTime('UTC'),
    counted_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(counted_at)
PARTITION BY toYYYYMM(hour)
ORDER BY hour;
