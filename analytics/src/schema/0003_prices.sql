-- Every price that was ever in force here. Read `prices` instead.
CREATE TABLE IF NOT EXISTS price_log (
    provider LowCardinality(String),
    model String,
    valid_from DateTime64(6, 'UTC'),
    price_id String,
    recorded_at DateTime64(6, 'UTC') DEFAULT now64(6),
    input_usd_per_million Nullable(Decimal(38, 12)),
    cache_read_usd_per_million Nullable(Decimal(38, 12)),
    cache_write_usd_per_million Nullable(Decimal(38, 12)),
    cache_write_1h_usd_per_million Nullable(Decimal(38, 12)),
    input_audio_usd_per_million Nullable(Decimal(38, 12)),
    input_image_usd_per_million Nullable(Decimal(38, 12)),
    output_usd_per_million Nullable(Decimal(38, 12)),
    reasoning_usd_per_million Nullable(Decimal(38, 12)),
    output_audio_usd_per_million Nullable(Decimal(38, 12)),
    batch_input_usd_per_million Nullable(Decimal(38, 12)),
    batch_output_usd_per_million Nullable(Decimal(38, 12)),
    characters_usd_per_million Nullable(Decimal(38, 12)),
    usd_per_image Nullable(Decimal(38, 12)),
    usd_per_second Nullable(Decimal(38, 12)),
    usd_per_search Nullable(Decimal(38, 12)),
    tiers String
)
ENGINE = ReplacingMergeTree(recorded_at)
ORDER BY (provider, model, valid_from, price_id);

-- Dated prices: for `ASOF JOIN prices AS p ON p.provider = … AND p.model = … AND p.valid_from <= started_at`.
CREATE VIEW IF NOT EXISTS prices (
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
    batch_input_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'through the provider''s batch API',
    batch_output_usd_per_million Nullable(Decimal(38, 12)) COMMENT 'through the provider''s batch API',
    characters_usd_per_million Nullable(Decimal(38, 12)),
    usd_per_image Nullable(Decimal(38, 12)),
    usd_per_second Nullable(Decimal(38, 12)),
    usd_per_search Nullable(Decimal(38, 12)),
    tiers String COMMENT 'JSON: other prices for requests with more input than above_input_tokens'
) AS
SELECT * EXCEPT recorded_at FROM price_log FINAL;
