-- Classes of usage that were not told apart before, what of the usage has no price, and what a provider claims that cannot be.
ALTER TABLE attempt_log
    ADD COLUMN IF NOT EXISTS output_image_tokens Nullable(UInt64),
    ADD COLUMN IF NOT EXISTS code_executions Nullable(UInt64),
    ADD COLUMN IF NOT EXISTS file_searches Nullable(UInt64),
    ADD COLUMN IF NOT EXISTS claimed_usage Map(LowCardinality(String), UInt64),
    ADD COLUMN IF NOT EXISTS unpriced_usage Map(LowCardinality(String), UInt64);

ALTER TABLE spend_by_hour
    ADD COLUMN IF NOT EXISTS unknown UInt64 COMMENT 'attempts whose cost is not known, or not all of it';
