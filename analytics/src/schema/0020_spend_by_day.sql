-- Spend by the day, for reports over months: whole days of `spend_by_hour`, added up once they are over, and anew when an
-- hour of theirs was counted anew. Can be thrown away as that can.
CREATE TABLE IF NOT EXISTS spend_by_day (
    day Date,
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
    cost_usd Decimal(38, 12),
    unknown UInt64 COMMENT 'attempts whose cost is not known, or not all of it'
)
ENGINE = ReplacingMergeTree(counted_at)
PARTITION BY toYear(day)
ORDER BY (day, project, key_id, provider, model, virtual_model, operation);

-- Written after all rows of a day: it may be read from `spend_by_day` while no hour of it was counted later.
CREATE TABLE IF NOT EXISTS spend_days (
    day Date,
    counted_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(counted_at)
PARTITION BY toYear(day)
ORDER BY day;
