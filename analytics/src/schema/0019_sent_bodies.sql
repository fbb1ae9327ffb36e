-- What providers were sent, where that is not what callers sent.
ALTER TABLE body_log
    ADD COLUMN IF NOT EXISTS sent String CODEC(ZSTD(6)),
    ADD COLUMN IF NOT EXISTS sent_bytes UInt64;

-- As before, with what is new.
CREATE OR REPLACE VIEW bodies (
    request_id UUID,
    received_at DateTime64(6, 'UTC'),
    project LowCardinality(String),
    user Nullable(String),
    end_user Nullable(String),
    key_id LowCardinality(String),
    dialect LowCardinality(String) COMMENT 'in whose words both are',
    model LowCardinality(String) COMMENT 'as the caller named it',
    request String COMMENT 'from its beginning, secrets masked',
    request_bytes UInt64 COMMENT 'how long it was',
    answer String COMMENT 'from its beginning, secrets masked; of a stream all its events',
    answer_bytes UInt64 COMMENT 'how long it was',
    sent String COMMENT 'what the provider was sent last, where that is not the request: from its beginning, secrets masked',
    sent_bytes UInt64 COMMENT 'how long it was'
) AS
SELECT
    request_id, received_at, project, user, end_user, key_id, dialect, model, request, request_bytes, answer, answer_bytes,
    sent, sent_bytes
FROM body_log FINAL;
