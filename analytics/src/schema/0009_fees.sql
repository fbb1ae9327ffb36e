-- Prices of classes that were not told apart before.
ALTER TABLE price_log
    ADD COLUMN IF NOT EXISTS output_image_usd_per_million Nullable(Decimal(38, 12)),
    ADD COLUMN IF NOT EXISTS usd_per_code_execution Nullable(Decimal(38, 12)),
    ADD COLUMN IF NOT EXISTS usd_per_file_search Nullable(Decimal(38, 12));

-- As before, with what is new.
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
    characters_usd_per_million Nullable(Decimal(38, 12)),
    usd_per_image Nullable(Decimal(38, 12)),
    usd_per_second Nullable(Decimal(38, 12)),
    usd_per_search Nullable(Decimal(38, 12)),
    usd_per_code_execution Nullable(Decimal(38, 12)),
    usd_per_file_search Nullable(Decimal(38, 12)),
    tiers String COMMENT 'JSON: other prices for requests with more input than above_input_tokens'
) AS
SELECT * EXCEPT recorded_at FROM price_log FINAL;
